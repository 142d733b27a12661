"""What the parts of `scores` share: an instruction as a job, pairs of row and query head."""

from typing import Any

from amaranth.hdl import Module, Value
from amaranth.lib import data

from hwroute.config import Config
from hwroute.isa.table import BY_NAME
from hwroute.rtl.attention_layouts import VECTOR_LINE_BITS, entries_shape
from hwroute.rtl.field_table import field_table
from hwroute.rtl.issue_layouts import REGISTER_BITS
from hwroute.rtl.kv_layouts import bits
from hwroute.rtl.row_list_layouts import ROW_BITS
from hwroute.rtl.scratchpad_layouts import LINE_NUMBER_BITS

FIELDS = BY_NAME["scores"].by_name
HEAD_BITS = FIELDS["heads"].bits
HEAD_LINE_BITS = FIELDS["head_lines"].bits
PAIRS = 256
"""Pairs of row and query head, and of row and line of K, of a pass over the entries."""
PAIR_BITS = bits(PAIRS)
COPIED = (
    "q",
    "q_pitch",
    "k",
    "out",
    "out_pitch",
    "heads",
    "queries",
    "head_lines",
    "own",
    "maximum",
    "pitch",
)
"""Fields of the instruction that the parts use."""


def job_layout(config: Config) -> data.StructLayout:
    """Return what the parts need to know of an instruction.

    Fields: those of the instruction in `COPIED`; position; entries, without the own one; rows,
    their count; line, the first of K; lines, of the KV heads; group, query heads of the pass that
    share its first KV head.
    """
    copied = {name: FIELDS[name].bits for name in COPIED}
    return data.StructLayout(
        copied
        | {
            "position": REGISTER_BITS,
            "entries": entries_shape(config),
            "rows": range(config.array.accumulator_rows + 1),
            "line": VECTOR_LINE_BITS,
            "lines": VECTOR_LINE_BITS,
            "group": HEAD_BITS,
        }
    )


def pair_layout(config: Config) -> data.StructLayout:
    """Return what is known of a pair while its pass runs; pairs are numbered head by head.

    Fields: q, line of its query; out, line of its first score; token, the last that it attends to;
    ends, it is the last of its KV head; row, of the tile; reference, its row and the first line of
    its KV head as a pair.
    """
    return data.StructLayout(
        {
            "q": LINE_NUMBER_BITS,
            "out": LINE_NUMBER_BITS,
            "token": bits(config.kv.max_tokens),
            "ends": 1,
            "row": ROW_BITS,
            "reference": PAIR_BITS,
        }
    )


def pair_write_layout(config: Config) -> data.StructLayout:
    """Return the write of a pair to the tables of the parts."""
    return data.StructLayout({"en": 1, "index": PAIR_BITS, "pair": pair_layout(config)})


def finished_layout() -> data.StructLayout:
    """Return what the array's next row is.

    Fields: pair; own, of the tile's own entry; fresh and final, of the pass's first and last
    batch; ends, the last of its batch.
    """
    return data.StructLayout({"pair": PAIR_BITS, "own": 1, "fresh": 1, "final": 1, "ends": 1})


def pair_table(m: Module, write: Any, names: tuple[str, ...], at: Value) -> Any:
    """Add a table of some fields of all pairs, written by `write`; return those of pair `at`."""
    return field_table(m, PAIRS, (write.en, write.index, write.pair), names, at)
