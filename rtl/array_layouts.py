"""Payloads of the PE array's streams."""

from amaranth.hdl import signed
from amaranth.lib import enum
from amaranth.lib.data import ArrayLayout, StructLayout

from hwroute.column_format import LANES
from hwroute.config import Config
from hwroute.rtl.column_ports import ColumnShape


class Mode(enum.Enum, shape=2):
    """What a beat multiplies."""

    INT4 = 0
    """Activations by a tile of INT4 weights."""
    SCORES = 1
    """A block of a query by a tile of K."""
    VALUES = 2
    """Probabilities of up to 64 tokens by a tile of V."""


def slot_bits(config: Config) -> int:
    """Return the bits of the number of an accumulator row."""
    return (config.array.accumulator_rows - 1).bit_length()


def x_payload(config: Config) -> StructLayout:
    """Return a beat of the broadcast operand.

    Fields: ``mode``; ``lanes``, FP16; ``reference``, the biased exponent that the row's values are
    aligned to (VALUES, aligned variant); ``part``, which dimensions of a tile of V; ``slot``, the
    accumulator row; ``first``, start from zero; ``last``, send the row; ``hold``, the next beat of
    this kind reads the same tile.
    """
    return StructLayout(
        {
            "mode": Mode,
            "lanes": ArrayLayout(16, LANES),
            "reference": 5,
            "part": ColumnShape.of(config).part_bits,
            "slot": slot_bits(config),
            "first": 1,
            "last": 1,
            "hold": 1,
        }
    )


def w_payload(config: Config) -> StructLayout:
    """Return a tile of INT4 weights: 64 of each column, and each column's FP16 scale."""
    columns = config.array.columns
    return StructLayout(
        {
            "weights": ArrayLayout(ArrayLayout(signed(4), LANES), columns),
            "scales": ArrayLayout(16, columns),
        }
    )


def o_payload(config: Config) -> StructLayout:
    """Return a finished row: FP32 by column, and the accumulator row it comes from."""
    return StructLayout(
        {"columns": ArrayLayout(32, config.array.columns), "slot": slot_bits(config)}
    )
