"""What an NPE instruction asks for, in terms that all of them share."""

from typing import Any

from amaranth.hdl import Module, Mux, Value
from amaranth.lib import data

from hwroute.isa.fields import ADDRESS_BITS, LINE_ELEMENTS, Kind
from hwroute.isa.table import BY_NAME
from hwroute.rtl.decoder import fields_of
from hwroute.rtl.vector_layouts import FLOAT_WORDS, TOKEN_BITS, VectorOperation

LINE_FLOATS = LINE_ELEMENTS // FLOAT_WORDS
"""FP32 elements of a line."""
LINE_FLOAT_BITS = LINE_FLOATS.bit_length() - 1
REDUCE = BY_NAME["reduce"].code
LENGTH_BITS = TOKEN_BITS - LINE_FLOAT_BITS + 1
_ADDRESS, _WORD = ADDRESS_BITS[Kind.SCRATCHPAD], ADDRESS_BITS[Kind.STATISTIC]

OPERANDS = data.StructLayout(
    {
        "reduces": 1,
        "operation": VectorOperation,
        "x": _ADDRESS,
        "x_pitch": 12,
        "y": _ADDRESS,
        "y_pitch": 12,
        "out": _ADDRESS,
        "out_pitch": 12,
        "statistic": _WORD,
        "statistic_pitch": 9,
        "heads": 8,
        "length": LENGTH_BITS,
        "skip": LENGTH_BITS,
        "count": TOKEN_BITS,
        "offset": range(LINE_ELEMENTS),
        "base": TOKEN_BITS,
        "reads_y": 1,
        "reads_z": 1,
        "reads_statistic": 1,
        "repeats_y": 1,
        "first": 1,
        "last": 1,
        "inverse": 32,
        "epsilon": 32,
    }
)
"""Operands of an instruction.

A row of x is read as ``heads`` times ``length`` lines, ``skip`` lines apart; ``count`` elements of
a head count, where they are FP32. y goes along: a line for each of x, from its start again with
each head where ``repeats_y``; z (the other row of router weights) ``length`` lines behind y. Rows
of x, y and of what is written begin a pitch apart, and so do the statistics of a row's heads.
Reductions write statistics, a word from row to row. first, last: what begins and ends an argmax.
"""


def decode_operands(m: Module, word: Any, operands: Any) -> None:
    """Drive `operands` (`OPERANDS`) from the word of a legal NPE instruction."""
    code = fields_of(word, "reduce").opcode
    m.d.comb += [
        operands.reduces.eq(code == REDUCE),
        Value.cast(operands.operation).eq(code[:3]),
        operands.heads.eq(1),
        operands.first.eq(1),
        operands.last.eq(1),
    ]
    with m.Switch(code):
        for name, decode in _DECODERS.items():
            with m.Case(BY_NAME[name].code):
                m.d.comb += [
                    getattr(operands, field).eq(value)
                    for field, value in decode(fields_of(word, name)).items()
                ]


def _rows(fields: Any, *names: str) -> dict[str, Any]:
    """Return address and pitch of operands that are called as in `OPERANDS`."""
    places = {name: fields[name] for name in names}
    return places | {f"{name}_pitch": fields[f"{name}_pitch"] for name in names}


def _reduce(fields: Any) -> dict[str, Any]:
    return _rows(fields, "x") | {
        "length": fields.lines,
        "y": fields.router,
        "out": fields.to,
        "out_pitch": 1,
        "statistic_pitch": fields.pitch,
        "reads_y": fields.routed,
        "reads_z": fields.routed,
    }


def _normalise(fields: Any) -> dict[str, Any]:
    return _rows(fields, "x", "out") | {
        "length": fields.lines,
        "y": fields.gain,
        "reads_y": 1,
        "statistic": fields.squares,
        "reads_statistic": 1,
        "inverse": fields.inverse,
        "epsilon": fields.epsilon,
    }


def _rotate(fields: Any) -> dict[str, Any]:
    return _rows(fields, "x") | {
        "heads": fields.heads,
        "length": fields.head_lines,
        "y": fields.table,
        "y_pitch": fields.table_pitch,
        "reads_y": 1,
        "repeats_y": 1,
        "out": fields.x,
        "out_pitch": fields.x_pitch,
    }


def _swiglu(fields: Any) -> dict[str, Any]:
    return _rows(fields, "x", "out") | {"length": fields.lines << 1}


def _residual(fields: Any) -> dict[str, Any]:
    return _rows(fields, "x", "y") | {
        "length": fields.lines,
        "reads_y": 1,
        "out": fields.x,
        "out_pitch": fields.x_pitch,
    }


def _divide(fields: Any) -> dict[str, Any]:
    room = fields.head_lines * LINE_ELEMENTS
    count = Mux(fields.elements > room, room, fields.elements)
    length = (count + LINE_FLOATS - 1) >> LINE_FLOAT_BITS
    return _rows(fields, "x", "out") | {
        "heads": fields.heads,
        "length": length,
        "skip": fields.head_lines * FLOAT_WORDS - length,
        "count": count,
        "offset": fields.offset,
        "statistic": fields.sum,
        "statistic_pitch": fields.pitch,
        "reads_statistic": 1,
    }


def _argmax(fields: Any) -> dict[str, Any]:
    return {
        "x": fields.x,
        "length": (fields.count + LINE_FLOATS - 1) >> LINE_FLOAT_BITS,
        "count": fields.count,
        "base": fields.base,
        "first": fields.first,
        "last": fields.last,
    }


_DECODERS = {
    "reduce": _reduce,
    "normalise": _normalise,
    "rotate": _rotate,
    "swiglu": _swiglu,
    "residual": _residual,
    "divide": _divide,
    "argmax": _argmax,
}
