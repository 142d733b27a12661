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
ATTENTION_FRONT_CYCLES = 12
"""Of an attention instruction besides its rows and KV heads; measured of hwroute.rtl.values."""
VALUES_PLAN_CYCLES = 10
VALUES_UNIT_CYCLES = 2
"""Of a pass besides the reads, and of each of its units; hwroute.rtl.values_plan."""


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


def attention_front_cycles(one: Instruction, rows: int) -> int:
    """Return the cycles from a scores or values instruction to its first sweep.

    Its rows are listed and its KV heads counted, then it is checked where it leads.
    """
    heads = (one["first"] + one["heads"] - 1) // one["queries"] - one["first"] // one["queries"] + 1
    return ATTENTION_FRONT_CYCLES + timing.ROW_LIST_CYCLES + rows + heads


def scores_tail_cycles(config: Config, *, rows: int, heads: int, head_lines: int) -> int:
    """Return the cycles from the last beat of scores to the end.

    The last line of each (row, head) is written, then the words of the statistics.
    """
    way = timing.array_cycles(aligned=config.numerics.variant is Variant.ALIGNED)
    writes = rows * heads + rows * heads * (1 + head_lines)
    ends = timing.FLOAT_TO_HALF_CYCLES + timing.MAXIMUM_CYCLES + timing.MATMUL_END_CYCLES
    return way + ends + writes


def values_head_cycles(units: int) -> int:
    """Return the cycles from a values instruction's first sweep to its first probabilities.

    A pass begins when what its `units` need has been read, two cycles for each.
    """
    reads = timing.STATISTICS_READ_CYCLES + timing.SCRATCHPAD_READ_CYCLES
    return VALUES_PLAN_CYCLES + reads + timing.PROBABILITY_CYCLES + VALUES_UNIT_CYCLES * units


def values_tail_cycles(config: Config) -> int:
    """Return the cycles from the last beat to the end; rows are written as they come."""
    way = timing.array_cycles(aligned=config.numerics.variant is Variant.ALIGNED)
    return way + 1 + timing.MATMUL_END_CYCLES
