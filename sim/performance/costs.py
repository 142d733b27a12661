"""Cycles of the instructions that have a closed form: one function a class, all from `timing`.

What streams through memory ports (matmul, attention, DMA) is timed where it claims them; what
surrounds the stream is here too, so that this and `hwroute.timing` are the only places of
latencies.
"""

from hwroute import timing
from hwroute.config import Config, Variant
from hwroute.isa.fields import lines_of
from hwroute.isa.instruction import Instruction

ROUTER_OUTPUTS = 2


def npe_cycles(one: Instruction, rows: int) -> int:
    """Return the cycles from an instruction of the NPE to its end."""
    if one.name == "reduce":
        values = 1 + ROUTER_OUTPUTS * one["routed"]
        return timing.npe_reduce_cycles(rows, one["lines"], values)
    if one.name == "argmax":
        return timing.npe_argmax_cycles(lines_of(2 * one["count"]))
    return timing.npe_cycles(rows * _row_lines(one))


def _row_lines(one: Instruction) -> int:
    """Return the lines of x in a row."""
    if one.name == "swiglu":
        return 2 * one["lines"]
    if one.name == "rotate":
        return one["heads"] * one["head_lines"]
    if one.name == "divide":
        # The sums are FP32; lines that hold nothing but padding are left out.
        return one["heads"] * lines_of(2 * one["elements"])
    return one["lines"]


def router_cycles(one: Instruction, rows: int) -> int:
    """Return the cycles of a decide or select."""
    compares = one.name == "decide" and one.choice("mode") == "compare"
    return timing.tile_router_cycles(rows, compares=compares)


def matmul_tail_cycles(config: Config, *, lines: int, last: bool) -> int:
    """Return the cycles from the last beat to the end; a row has `lines` of results."""
    way = timing.array_cycles(aligned=config.numerics.variant is Variant.ALIGNED)
    if not last:
        return way + timing.MATMUL_END_CYCLES
    return way + timing.MATMUL_SEGMENT_CYCLES + lines + timing.MATMUL_END_CYCLES


def heads_counted(one: Instruction, vector_lines: int) -> int:
    """Return the KV heads that a scores or values instruction counts before it begins."""
    return max(
        (one["first"] + one["heads"] - 1) // one["queries"], vector_lines // one["head_lines"]
    )


def row_words(one: Instruction) -> int:
    """Return the words of statistics that scores writes for a row."""
    return one["heads"] * (1 + one["head_lines"])
