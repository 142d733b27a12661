"""What the parts of `values` share: an instruction as a job, its passes, the units of a pass."""

from typing import Any

from amaranth.hdl import Module, Value
from amaranth.lib import data

from hwroute.config import Config
from hwroute.isa.table import BY_NAME
from hwroute.rtl.attention_layouts import VECTOR_LINE_BITS, entries_shape
from hwroute.rtl.column_ports import ColumnShape
from hwroute.rtl.field_table import field_table
from hwroute.rtl.issue_layouts import REGISTER_BITS
from hwroute.rtl.kv_layouts import bits
from hwroute.rtl.scratchpad_layouts import LINE_NUMBER_BITS
from hwroute.rtl.softmax import MAXIMUM_SHAPE
from hwroute.rtl.statistics_layouts import WORD_NUMBER_BITS

FIELDS = BY_NAME["values"].by_name
HEAD_BITS = FIELDS["heads"].bits
HEAD_LINE_BITS = FIELDS["head_lines"].bits
COPIED = (
    "scores",
    "scores_pitch",
    "v",
    "out",
    "out_pitch",
    "heads",
    "queries",
    "head_lines",
    "own",
    "maximum",
    "sum",
    "pitch",
)
"""Fields of the instruction that the parts use."""


BANKS = 2
"""Passes whose units are known."""


def slots_of(config: Config) -> int:
    """Return how many units, each of a line of V and a pair of row and head, fit in the array."""
    return config.array.accumulator_rows // ColumnShape.of(config).parts


def unit_bits(config: Config) -> int:
    """Return the bits of a unit's number in the tables: its place in the array, below its bank.

    The units of a pass are in one bank while those of the next are put into the other.
    """
    return bits(slots_of(config)) + 1


def job_layout(config: Config) -> data.StructLayout:
    """Return what the parts need to know of an instruction.

    Fields: those of the instruction in `COPIED`; position; entries, without the own one; rows,
    their count; line, the first of V; group, query heads of the pass that share its KV head.
    """
    copied = {name: FIELDS[name].bits for name in COPIED}
    return data.StructLayout(
        copied
        | {
            "position": REGISTER_BITS,
            "entries": entries_shape(config),
            "rows": range(config.array.accumulator_rows + 1),
            "line": VECTOR_LINE_BITS,
            "group": HEAD_BITS,
        }
    )


def pass_layout(config: Config) -> data.StructLayout:
    """Return a pass over all entries: lines of V, units that fit in the array, the last pass."""
    return data.StructLayout(
        {
            "line": VECTOR_LINE_BITS,
            "lines": VECTOR_LINE_BITS,
            "units": range(slots_of(config) + 1),
            "last": 1,
        }
    )


def unit_layout(config: Config) -> data.StructLayout:
    """Return what is known of a unit while its pass runs.

    Fields: scores, line of its first; maximum, of its scores; token, the last that it attends to;
    reference; ends, it is the last of its line of V; sums, it is the first of its head, whose sum
    goes to the word ``sum``; out, first line of its output.
    """
    return data.StructLayout(
        {
            "scores": LINE_NUMBER_BITS,
            "maximum": MAXIMUM_SHAPE,
            "token": bits(config.kv.max_tokens),
            "reference": 5,
            "ends": 1,
            "sums": 1,
            "sum": WORD_NUMBER_BITS,
            "out": LINE_NUMBER_BITS,
        }
    )


def unit_write_layout(config: Config) -> data.StructLayout:
    """Return the write of a unit to the tables of the parts."""
    return data.StructLayout({"en": 1, "index": unit_bits(config), "unit": unit_layout(config)})


def unit_table(m: Module, config: Config, write: Any, names: tuple[str, ...], at: Value) -> Any:
    """Add a table of some fields of all units, written by `write`; return those of unit `at`."""
    return field_table(m, 1 << unit_bits(config), (write.en, write.index, write.unit), names, at)
