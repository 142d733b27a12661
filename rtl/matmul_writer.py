"""Finish outputs of products: bias, number format, lines."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hwroute.config import Config
from hwroute.isa.fields import LINE_ELEMENTS
from hwroute.rtl.array_layouts import o_payload
from hwroute.rtl.float32 import FloatAdd
from hwroute.rtl.float_convert import FloatToHalf, half_to_float
from hwroute.rtl.matmul_layouts import MatmulShape
from hwroute.rtl.matmul_output import PLACE_BITS, segment_layout
from hwroute.rtl.pipeline import advance, delay, register
from hwroute.rtl.scratchpad_layouts import LINE, WritePort
from hwroute.timing import FLOAT_ADD_CYCLES, FLOAT_TO_HALF_CYCLES, MATMUL_SEGMENT_CYCLES

HALF_PLACE_BITS = PLACE_BITS // 2


class MatmulWriter(wiring.Component):
    """Add biases to segments of finished rows, convert them and write them.

    Latency `hwroute.timing.MATMUL_SEGMENT_CYCLES` + 1 from a row to the write of its first segment;
    a segment a cycle, but two where it lies in two lines. FP16 is rounded once, as the
    configuration says, and saturates.

    Stages: (1) segment and biases; (2, 3) rotate biases down; (4 to 8) add; (9, 10) convert;
    (11, 12) rotate up to the segment's place; then the register of the write.

    Parameters
    ----------
    config
        Of the array; rounding.

    Members
    -------
    i
        Stream of `hwroute.rtl.matmul_output.segment_layout`.
    bias
        Stream of lines: one for each segment with biases, two where they lie in two.
    rows
        Stream of `hwroute.rtl.array_layouts.o_payload`.
    write
        `hwroute.rtl.scratchpad_layouts.WritePort`.
    written
        The last segment of a job is written.
    overflow
        A value that is written in this cycle or will be soon has saturated.
    """

    def __init__(self, config: Config):
        self.config = config
        self.shape = MatmulShape.of(config)
        super().__init__(
            {
                "i": In(stream.Signature(segment_layout(self.shape))),
                "bias": In(stream.Signature(LINE)),
                "rows": In(stream.Signature(o_payload(config))),
                "write": Out(WritePort()),
                "written": Out(1),
                "overflow": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        taken, done = (stream.Signature(1).create(path=(name,)) for name in ("taken", "done"))
        biases = self._take(m, taken)
        en, _ = advance(m, taken, done, MATMUL_SEGMENT_CYCLES)
        values = self._finish(m, en, biases)
        segment = delay(m, en, Value.cast(self.i.payload), MATMUL_SEGMENT_CYCLES, "segment")
        self._write(m, done, data.View(self.i.payload.shape(), segment), values)
        return m

    def _take(self, m: Module, taken: Any) -> Value:
        """Take a segment when row and biases are there; return the biases, not yet rotated."""
        segment = self.i.payload
        first, held = Signal(LINE), Signal()
        two = segment.bias_place + segment.count > LINE_ELEMENTS
        complete = ~segment.biased | (self.bias.valid & (held | ~two))
        fires = taken.valid & taken.ready
        m.d.comb += [
            taken.valid.eq(self.i.valid & self.rows.valid & complete),
            self.i.ready.eq(fires),
            self.rows.ready.eq(fires & segment.block_ends),
            self.bias.ready.eq(self.i.valid & segment.biased & ((two & ~held) | fires)),
        ]
        with m.If(self.bias.valid & self.bias.ready):
            m.d.sync += [first.eq(self.bias.payload), held.eq(two & ~held)]
        lanes = [
            Mux(two & (segment.bias_place <= lane), first[lane], self.bias.payload[lane])
            for lane in range(LINE_ELEMENTS)
        ]
        return Mux(segment.biased, Cat(lanes), 0)

    def _finish(self, m: Module, en: Signal, biases: Value) -> Value:
        """Return the halves of the result, each at its place in a line, `biases` added."""
        segment, size = self.i.payload, self.shape.segment
        low = register(m, en, segment.bias_place, "bias_place_1")
        high = register(m, en, low[HALF_PLACE_BITS:], "bias_place_2")
        biases = _rotate(register(m, en, biases, "bias_1"), low[:HALF_PLACE_BITS], 0, down=True)
        biases = _rotate(register(m, en, biases, "bias_2"), high, HALF_PLACE_BITS, down=True)
        biases = register(m, en, biases[: 16 * size], "bias_3")
        row = Value.cast(self.rows.payload.columns).word_select(segment.number, 32 * size)
        row = delay(m, en, row, 3, "row")

        at_sum = 3 + FLOAT_ADD_CYCLES
        at_half = at_sum + FLOAT_TO_HALF_CYCLES
        counts = [delay(m, en, segment.count, at_half, "count")]
        wide = delay(m, en, segment.wide, at_half, "wide")
        inside = [counts[0] > lane for lane in range(size)]
        halves, words, saturated = [], [], []
        for lane in range(size):
            m.submodules[f"add_{lane}"] = add = FloatAdd()
            m.submodules[f"half_{lane}"] = half = FloatToHalf(self.config.numerics.rounding)
            m.d.comb += [
                add.en.eq(en),
                add.a.eq(row.word_select(lane, 32)),
                add.b.eq(half_to_float(biases.word_select(lane, 16))),
                half.en.eq(en),
                half.a.eq(add.o),
            ]
            word = delay(m, en, add.o, FLOAT_TO_HALF_CYCLES, f"word_{lane}")
            halves.append(Mux(inside[lane], half.o, 0))
            words.append(Mux(inside[lane], word, 0))
            saturated.append(inside[lane] & half.saturated)
        valid = delay(m, en, self.i.valid & self.i.ready, at_half, "valid")
        m.d.sync += self.overflow.eq(en & valid & ~wide & Cat(saturated).any())
        result = Mux(wide, Cat(words), Cat(halves))
        low = delay(m, en, segment.place, at_half, "place")
        high = register(m, en, low[HALF_PLACE_BITS:], "place_high")
        line = Signal(LINE.size)
        m.d.comb += line.eq(result)
        line = register(m, en, _rotate(line, low[:HALF_PLACE_BITS], 0), "line_low")
        return register(m, en, _rotate(line, high, HALF_PLACE_BITS), "line_high")

    def _write(self, m: Module, done: Any, segment: Any, values: Value) -> None:
        """Write a segment: what is in its line, then what is in the next, zeros behind a row."""
        request, second, ends = self.write.request, Signal(), Signal()
        o = request.payload
        halves = Mux(segment.wide, segment.count << 1, segment.count)
        end = Signal(PLACE_BITS + 2)
        m.d.comb += end.eq(segment.place + halves)
        two = end > LINE_ELEMENTS
        free = ~request.valid | request.ready
        m.d.comb += [
            done.ready.eq(free & (second | ~two)),
            self.written.eq(request.valid & request.ready & ends),
        ]
        with m.If(free):
            m.d.sync += [
                request.valid.eq(done.valid),
                second.eq(done.valid & two & ~second),
                ends.eq(segment.job_ends & (second | ~two)),
                o.line.eq(segment.line + second),
            ]
            for lane in range(LINE_ELEMENTS):
                value = values[16 * lane : 16 * (lane + 1)]
                below = segment.place > lane
                first_mask = ~below & ((end > lane) | segment.row_ends)
                second_mask = (end > lane + LINE_ELEMENTS) | segment.row_ends
                m.d.sync += [
                    o.mask[lane].eq(Mux(second, second_mask, first_mask)),
                    o.data[lane].eq(Mux(second & ~below, 0, value)),
                ]


def _rotate(line: Value, places: Value, low: int, *, down: bool = False) -> Value:
    """Rotate the elements of a line upwards, or down, by ``places << low``."""
    for bit in range(len(places)):
        by = len(line) // LINE_ELEMENTS << low + bit
        line = Mux(places[bit], line.rotate_right(by) if down else line.rotate_left(by), line)
    return line
