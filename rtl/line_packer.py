"""Pack chunks of results into whole lines."""

from typing import Any

from amaranth.hdl import Assert, Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hwroute.rtl.pipeline import advance, delay, register
from hwroute.rtl.streams import SkidBuffer
from hwroute.rtl.vector_layouts import HALF_RESULT, line_layout
from hwroute.timing import LINE_PACKER_CYCLES


def chunk_layout(lanes: int) -> data.StructLayout:
    """Return the shape of a chunk of results.

    Fields: whole, a line that needs no packing; count, results that count, from lane 0 on; first,
    last chunk of the row; offset, lane of the row's first line to begin at; results.
    """
    return data.StructLayout(
        {
            "whole": 1,
            "first": 1,
            "last": 1,
            "offset": range(lanes),
            "count": range(lanes + 1),
            "results": data.ArrayLayout(HALF_RESULT, lanes),
        }
    )


class LinePacker(wiring.Component):
    """Put the results of a row's chunks one behind the other and send them as lines.

    A row that is packed begins at lane ``offset`` of its first line; the rest of its last line is
    zero. Chunks that are whole lines pass. Latency `hwroute.timing.LINE_PACKER_CYCLES` from the
    chunk that fills a line or ends its row; a chunk a cycle, but for LINE_SPILL_CYCLES where the
    last chunk of a row fills a line and leaves a rest. Stages: (1, 2) rotate by the place of the
    chunk; (3) output register.

    Parameters
    ----------
    lanes
        Of a line, a power of two, at least 4.

    Members
    -------
    i
        Stream of `chunk_layout`; a whole line comes between rows, not within one.
    o
        Stream of `hwroute.rtl.vector_layouts.line_layout`.
    """

    def __init__(self, lanes: int):
        self.lanes = lanes
        super().__init__(
            {
                "i": In(stream.Signature(chunk_layout(lanes))),
                "o": Out(stream.Signature(line_layout(lanes))),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        rotated = stream.Signature(1).create(path=("rotated",))
        en, _ = advance(m, self.i, rotated, LINE_PACKER_CYCLES - 1)
        i = self.i.payload
        held = Signal(range(self.lanes), name="next_place")
        place = Mux(i.whole, 0, Mux(i.first, i.offset, held))[: len(held)]
        end = place + i.count
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += held.eq(end)
            m.d.sync += Assert(i.count.any())

        half = len(held) // 2
        results = self._rotate(Value.cast(i.results), place[:half], 0)
        results = register(m, en, results, "rotated_low")
        results = self._rotate(results, register(m, en, place[half:], "place_high"), half)
        results = register(m, en, results, "rotated_high")
        # As wide as the end, so that the last lane's comparison is one.
        fields = {
            "place": Cat(place, Const(0, 1)),
            "end": end,
            "begins": i.first | i.whole,
            "last": i.last,
        }
        control = {name: delay(m, en, value, 2, name) for name, value in fields.items()}
        self._merge(m, rotated, data.ArrayLayout(HALF_RESULT, self.lanes)(results), control)
        return m

    def _rotate(self, value: Value, places: Value, low: int) -> Value:
        """Rotate lanes upwards by ``places << low``."""
        width = len(value) // self.lanes
        for bit in range(len(places)):
            value = Mux(places[bit], value.rotate_left(width << low + bit), value)
        return value

    def _merge(self, m: Module, rotated: Any, results: Any, control: dict[str, Value]) -> None:
        """Join a chunk with the lanes that wait, and send them when the line is full."""
        m.submodules.skid = skid = SkidBuffer(line_layout(self.lanes))
        connect(m, skid.o, flipped(self.o))
        place, end, last = control["place"], control["end"], control["last"]
        # Results of the line that is not full: zero from the row's place on, and after its end.
        waiting = Signal(data.ArrayLayout(HALF_RESULT, self.lanes))
        start, started = Signal(range(self.lanes)), Signal(range(self.lanes))
        spills = Signal()
        lane_numbers = range(self.lanes)
        merged = [
            Mux(place > lane, waiting[lane], Mux(end > lane, results[lane], 0))
            for lane in lane_numbers
        ]
        rest = [Mux(end > lane + self.lanes, results[lane], 0) for lane in lane_numbers]
        full = end >= self.lanes
        sends = full | last
        overflows = last & (end > self.lanes)

        line = Signal(data.ArrayLayout(HALF_RESULT, self.lanes))
        m.d.comb += [
            line.eq(Mux(spills, Value.cast(waiting), Cat(merged))),
            start.eq(Mux(control["begins"], place, started)),
            skid.i.valid.eq(spills | (rotated.valid & sends)),
            skid.i.payload.start.eq(Mux(spills, 0, start)),
            skid.i.payload.last.eq(spills | (last & ~overflows)),
            skid.i.payload.saturated.eq(Cat(result.saturated for result in line).any()),
            rotated.ready.eq(~spills & (~sends | skid.i.ready)),
        ]
        for lane in lane_numbers:
            m.d.comb += skid.i.payload.lanes[lane].eq(line[lane].bits)
        with m.If(rotated.valid & rotated.ready):
            m.d.sync += [
                waiting.eq(Mux(sends, Cat(rest), Cat(merged))),
                started.eq(Mux(sends, 0, start)),
                spills.eq(overflows),
            ]
        with m.Elif(spills & skid.i.ready):
            m.d.sync += [waiting.eq(0), spills.eq(0)]
