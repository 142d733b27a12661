"""The machine without its fused dataflows: each reduction is a pass of its own.

docs/compiler.md says what is fused. Without, logits of a router are a second pass over the rows
after their sums of squares; a row is normalised whole before the array takes it up; and the softmax
goes over all scores twice, between scores and values: for their maxima, then for exponentials and
their sums. Every pass is over the scratchpad, a line a cycle, by the NPE.
"""

from hwroute import timing
from hwroute.isa.fields import Unit, lines_of
from hwroute.isa.instruction import Instruction
from hwroute.program import Program
from hwroute.sim.performance import costs
from hwroute.sim.performance.sequencer import UnitPair


def separated_tokens(program: Program) -> list[UnitPair]:
    """Return the units that each instruction waits for and signals, norms not fused.

    The first product of the parts of a norm waits for the last of them, instead of each product
    for its part.
    """
    pairs = [(one.units("wait"), one.units("signal")) for one in program.instructions]
    norms: list[int] = []
    products: list[int] = []
    for index, one in enumerate(program.instructions):
        if one.name == "normalise":
            norms.append(index)
        elif one.name == "matmul" and norms:
            products.append(index)
            if one["last"]:
                _join(pairs, norms, products)
                norms, products = [], []
    return pairs


def _join(pairs: list[UnitPair], norms: list[int], products: list[int]) -> None:
    """Keep one token of those between the parts of a norm and their products."""
    for index in norms[:-1]:
        wait, signal = pairs[index]
        pairs[index] = wait, tuple(unit for unit in signal if unit is not Unit.ARRAY)
    for index in products[1:]:
        wait, signal = pairs[index]
        pairs[index] = tuple(unit for unit in wait if unit is not Unit.NPE), signal


def separated_cycles(one: Instruction, rows: int, fused: int) -> int:
    """Return the cycles of an instruction of the NPE that takes `fused` with a router beside it."""
    if one.name != "reduce" or not one["routed"]:
        return fused
    squares = timing.npe_reduce_cycles(rows, one["lines"], 1)
    return squares + timing.npe_reduce_cycles(rows, one["lines"], costs.ROUTER_OUTPUTS)


def softmax_cycles(one: Instruction, rows: int, entries: int) -> int:
    """Return the cycles of the two passes of a softmax over the scores of an instruction.

    `entries` are those that it went through, its own excluded.
    """
    lines = rows * one["heads"] * lines_of(entries + one["own"])
    ends = timing.MAXIMUM_CYCLES + timing.EXPONENTIALS_CYCLES
    return 2 * (timing.NPE_CONTROL_CYCLES + timing.SCRATCHPAD_READ_CYCLES + lines) + ends
