"""Where the rows of an NPE instruction begin."""

from typing import Any

from amaranth.hdl import Module, Mux
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hwroute.rtl.npe_operands import OPERANDS
from hwroute.rtl.pipeline import advance, delay, register
from hwroute.rtl.row_list_layouts import ROW
from hwroute.rtl.scratchpad_layouts import LINE_NUMBER_BITS
from hwroute.rtl.statistics_layouts import WORD_NUMBER_BITS
from hwroute.rtl.vector_layouts import VectorOperation

ROW_PLACES = data.StructLayout(
    {
        "x": LINE_NUMBER_BITS,
        "y": LINE_NUMBER_BITS,
        "out": LINE_NUMBER_BITS,
        "statistic": WORD_NUMBER_BITS,
        "last": 1,
        "empty": 1,
    }
)
"""First lines (words) of a row, as `OPERANDS` has them; ``empty``: there is no row at all."""


class RowPlaces(wiring.Component):
    """Turn numbers of rows into places. Latency 2 cycles, a row a cycle.

    An argmax is of row 0, whatever rows there are.

    Members
    -------
    operands
        `hwroute.rtl.npe_operands.OPERANDS`, stable.
    i
        Stream of `hwroute.rtl.row_list_layouts.ROW`.
    o
        Stream of `ROW_PLACES`.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "operands": In(OPERANDS),
                "i": In(stream.Signature(ROW)),
                "o": Out(stream.Signature(ROW_PLACES)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        operands, o = self.operands, self.o.payload
        places = stream.Signature(1).create(path=("places",))
        en, _ = advance(m, self.i, places, 2)
        is_argmax = operands.operation == VectorOperation.ARGMAX
        row = Mux(is_argmax, 0, self.i.payload.row)
        for name in ("x", "y", "out"):
            product = register(m, en, row * operands[f"{name}_pitch"], f"{name}_product")
            place = register(m, en, operands[name] + product, f"{name}_place")
            m.d.comb += o[name].eq(place)
        m.d.comb += [
            o.statistic.eq(operands.statistic + delay(m, en, row, 2, "row")),
            o.last.eq(delay(m, en, self.i.payload.last, 2, "last")),
            o.empty.eq(delay(m, en, self.i.payload.empty, 2, "empty")),
            self.o.valid.eq(places.valid & (o.last | ~is_argmax)),
            places.ready.eq(~self.o.valid | self.o.ready),
        ]
        return m
