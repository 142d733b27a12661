"""The row reductions of the vector unit behind one stream of tiles."""

from enum import Enum
from typing import Any

from amaranth.hdl import Module, Value, signed
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hwroute.column_format import LANES
from hwroute.rtl.accumulation import SLOT_BITS, RowAccumulator, block_dot, sums_layout
from hwroute.rtl.aligner import ALIGNED_BITS
from hwroute.rtl.pipeline import advance, delay
from hwroute.rtl.softmax import (
    MAXIMUM_SHAPE,
    RowExponentials,
    RowMaximum,
    probabilities_layout,
)
from hwroute.timing import BLOCK_DOT_CYCLES

ROWS_IN_FLIGHT = 32
"""Rows whose results are still to come; more than the pipelines hold."""


class Reduction(Enum):
    """What a row is reduced to."""

    SQUARES = 0
    """Sum of squares of aligned integers, FP32."""
    MAXIMUM = 1
    """Largest FP16 score rounded up to an integer, sign-extended to 32 bits."""
    EXPONENTIALS = 2
    """Sum of 2**(s - m) * 2**15 over FP16 scores s, FP32; the terms leave on the way."""


def tile_layout() -> data.StructLayout:
    """Return the shape of 64 elements of a row.

    Fields: function; slot (only SQUARES has more than one row open); first, last tile of the row;
    exponent of the block (SQUARES); maximum of the row (EXPONENTIALS); mask (MAXIMUM and
    EXPONENTIALS: lanes that count); lanes (SQUARES: signed integers; else FP16 in the low bits).
    """
    return data.StructLayout(
        {
            "function": Reduction,
            "slot": SLOT_BITS,
            "first": 1,
            "last": 1,
            "exponent": 5,
            "maximum": MAXIMUM_SHAPE,
            "mask": LANES,
            "lanes": data.ArrayLayout(signed(ALIGNED_BITS), LANES),
        }
    )


def result_layout() -> data.StructLayout:
    """Return the shape of a row's result."""
    return data.StructLayout({"function": Reduction, "slot": SLOT_BITS, "value": 32})


class RowSquares(wiring.Component):
    """Add the squares of rows of aligned blocks: exact in a block, FP32 over the blocks in order.

    Latency `hwroute.timing.SQUARES_CYCLES`; rate as `RowAccumulator` says.

    Members
    -------
    i
        Stream of slot, first, last, exponent and lanes of `tile_layout`.
    o
        Stream of `hwroute.rtl.accumulation.sums_layout` of one value.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "i": In(stream.Signature(_part("slot", "first", "last", "exponent", "lanes"))),
                "o": Out(stream.Signature(sums_layout(1))),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.dot = dot = block_dot()
        m.submodules.accumulator = accumulator = RowAccumulator(1)
        i, blocks = self.i.payload, accumulator.i.payload
        en, _ = advance(m, self.i, accumulator.i, BLOCK_DOT_CYCLES)
        m.d.comb += [
            dot.en.eq(en),
            dot.a.eq(i.lanes),
            dot.b.eq(i.lanes),
            dot.exponent.eq(i.exponent << 1),
            blocks.values[0].eq(dot.o),
        ]
        for name in ("slot", "first", "last"):
            m.d.comb += blocks[name].eq(delay(m, en, i[name], BLOCK_DOT_CYCLES, name))
        connect(m, accumulator.o, flipped(self.o))
        return m


def _part(*names: str) -> data.StructLayout:
    return data.StructLayout({name: tile_layout()[name].shape for name in names})


class RowReduction(wiring.Component):
    """Reduce rows of any number of tiles by the function that comes with each tile.

    Latencies `hwroute.timing.SQUARES_CYCLES`, MAXIMUM_CYCLES, EXPONENTIALS_CYCLES from a row's last
    tile; one tile a cycle, but for a row of SQUARES that is alone (`RowAccumulator`). Rows of
    different functions may overlap; results leave in the order of the rows' last tiles, so that a
    short function waits for a longer one before it. Within MAXIMUM and EXPONENTIALS rows come one
    after the other.

    Members
    -------
    i
        Stream of `tile_layout`.
    p
        Stream of `hwroute.rtl.softmax.probabilities_layout`, one for each tile of EXPONENTIALS.
    o
        Stream of `result_layout`.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "i": In(stream.Signature(tile_layout())),
                "p": Out(stream.Signature(probabilities_layout())),
                "o": Out(stream.Signature(result_layout())),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.squares = squares = RowSquares()
        m.submodules.maximum = maximum = RowMaximum()
        m.submodules.exponentials = exponentials = RowExponentials()
        width = Value.cast(self.i.payload.function).shape().width
        m.submodules.order = order = fifo.SyncFIFOBuffered(width=width, depth=ROWS_IN_FLIGHT)
        units: dict[Reduction, Any] = {
            Reduction.SQUARES: squares,
            Reduction.MAXIMUM: maximum,
            Reduction.EXPONENTIALS: exponentials,
        }
        i = self.i.payload
        m.d.comb += order.w_data.eq(i.function)
        room = ~i.last | order.w_rdy
        for function, unit in units.items():
            self._fill(m, unit.i.payload, slotted=unit is squares)
            chosen = i.function == function
            m.d.comb += unit.i.valid.eq(self.i.valid & room & chosen)
            with m.If(room & chosen):
                m.d.comb += self.i.ready.eq(unit.i.ready)
        m.d.comb += order.w_en.eq(self.i.valid & self.i.ready & i.last)
        m.d.comb += [
            self.p.valid.eq(exponentials.p.valid),
            exponentials.p.ready.eq(self.p.ready),
            self.p.payload.last.eq(exponentials.p.payload.last),
            self.p.payload.lanes.eq(exponentials.p.payload.lanes),
        ]

        m.d.comb += [
            self.o.payload.function.eq(order.r_data),
            order.r_en.eq(self.o.valid & self.o.ready),
        ]
        for function, unit in units.items():
            value = unit.o.payload
            if unit is squares:
                value = unit.o.payload.values[0]
            elif unit is exponentials:
                value = unit.o.payload.value
            with m.If(order.r_rdy & (order.r_data == function)):
                m.d.comb += [
                    self.o.valid.eq(unit.o.valid),
                    self.o.payload.value.eq(value),
                    unit.o.ready.eq(self.o.ready),
                ]
                if unit is squares:
                    m.d.comb += self.o.payload.slot.eq(unit.o.payload.slot)
        return m

    def _fill(self, m: Module, payload: Any, *, slotted: bool) -> None:
        """Give a unit the fields that it takes; scores are the low bits of the lanes."""
        i = self.i.payload
        for name, _ in payload.shape():
            if name == "slot" and not slotted:
                continue
            if name == "scores":
                for lane in range(LANES):
                    m.d.comb += payload.scores[lane].eq(i.lanes[lane])
            else:
                m.d.comb += payload[name].eq(i[name])
