"""Ports of the statistics memory."""

from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hwroute.isa.parts import PITCH

WORD_NUMBER_BITS = 21
"""Room for the largest number that an instruction can ask for: address (12 bits), 255 heads of 16
values (scores) with the largest pitch, row."""
VALUES_BITS = 12

VECTOR = data.StructLayout({"first": WORD_NUMBER_BITS, "pitch": PITCH.bits, "values": VALUES_BITS})
"""Values of a row: words first + k * pitch for k below ``values``, which is not 0. Value 0 of row r
is word address + r."""
WORD_NUMBER = data.StructLayout({"word": WORD_NUMBER_BITS, "last": 1})
"""One of these words."""
STATISTIC = data.StructLayout({"value": 32, "last": 1})
"""A word, and whether it is the last of its request."""


class StatisticsReadPort(wiring.Signature):
    """A read port, as its user sees it.

    Members
    -------
    request
        Stream of `VECTOR`.
    response
        Stream of `STATISTIC`, in order.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "request": Out(stream.Signature(VECTOR)),
                "response": In(stream.Signature(STATISTIC)),
            }
        )


class StatisticsWritePort(wiring.Signature):
    """A write port, as its user sees it; a value is written when it is accepted.

    Members
    -------
    request
        Stream of `VECTOR`.
    values
        Stream of words, as many as the requests ask for.
    """

    def __init__(self) -> None:
        super().__init__(
            {"request": Out(stream.Signature(VECTOR)), "values": Out(stream.Signature(32))}
        )
