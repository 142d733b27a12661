"""Payloads inside the DMA unit."""

from amaranth.lib import data
from amaranth.lib.enum import Enum

from hwroute.isa.fields import ADDRESS_BITS, LINE_BYTES, Kind
from hwroute.isa.table import BY_NAME
from hwroute.rtl.issue_layouts import INDEX_BITS, REGISTER_BITS
from hwroute.rtl.row_list_layouts import ROW_BITS

IDS_A_LINE = 8 * LINE_BYTES // REGISTER_BITS
IDS = data.StructLayout({"ids": data.ArrayLayout(REGISTER_BITS, IDS_A_LINE), "error": 1})
"""A line of token ids, and whether the memory failed to give it."""
WORD_BITS = (IDS_A_LINE - 1).bit_length()
LINES_BITS = BY_NAME["load"].by_name["lines"].bits


class Move(Enum, shape=2):
    """What is moved."""

    LOAD = 0
    """Lines of DDR to the scratchpad."""
    STORE = 1
    """Lines of the scratchpad to DDR."""
    IDS = 2
    """A line of token ids to whoever looks for one."""
    PUT = 3
    """One token id to DDR."""


_COMMON = {
    "move": Move,
    "bare": 1,
    "end": 1,
    "index": INDEX_BITS,
    "lines": LINES_BITS,
    "value": REGISTER_BITS,
    "word": WORD_BITS,
}
ROW_TO_MOVE = data.StructLayout(
    _COMMON
    | {
        "bad": 1,
        "base": ADDRESS_BITS[Kind.DDR],
        "stride": BY_NAME["load"].by_name["stride"].bits,
        "times": REGISTER_BITS + 2,
        "to": ADDRESS_BITS[Kind.SCRATCHPAD],
        "pitch": BY_NAME["load"].by_name["to_pitch"].bits,
        "row": ROW_BITS,
    }
)
"""A row, before its places are known: DDR line ``base + stride * times``, scratchpad line
``to + pitch * row``; ``bad``: it has none. The other fields are those of `COMMAND`."""
COMMAND = data.StructLayout(
    _COMMON
    | {
        "error": 1,
        "ddr": ADDRESS_BITS[Kind.DDR],
        "scratchpad": ADDRESS_BITS[Kind.SCRATCHPAD],
    }
)
"""A row to move, whose places are in both memories.

Fields: what moves, or with ``bare`` set that nothing does; ``end`` of its instruction, with
``error`` if that failed; index of the instruction; number of lines, and the first of them in each
memory; for PUT, the id and its place in the line.
"""
