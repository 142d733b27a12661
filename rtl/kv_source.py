"""Lines of K and V, and exponents of V, out of the beats that a bank or HBM port gives."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from hwroute.config import KVConfig
from hwroute.isa.fields import LINE_BYTES
from hwroute.rtl.attention_layouts import EXPONENT_BITS, SWEEP, VECTOR_LINE_BITS
from hwroute.rtl.kv_bank import QUEUE_DEPTH
from hwroute.rtl.kv_layouts import beat_layout, exponent_beats
from hwroute.rtl.kv_map import EXPONENT_BEAT_BITS
from hwroute.rtl.scratchpad_layouts import LINE

ENTRY_LINES = data.StructLayout({"sweep": SWEEP, "whole": 1})
"""What is asked for of an entry; with ``whole`` the beats are those of the whole vector."""


class KVSource(wiring.Component):
    """Make the lines that a sweep asked for of an entry's beats, and drop the others.

    One beat a cycle while lines are taken. Latency 1 cycle from the last beat of a line to the
    line, 2 from a beat of exponents to the first; then one a cycle. The exponents of one entry wait
    inside while the lines of the next are taken.

    Parameters
    ----------
    config
        Width of a beat, longest vector.

    Members
    -------
    vector_lines, exponents : ``In``, lines of a vector, beats of the exponents behind K; stable
    push, entry : ``In``, queue an entry, `ENTRY_LINES`
    room : ``Out(1)``
    i
        Stream of `hwroute.rtl.kv_layouts.beat_layout`.
    lines
        Stream of `LINE`.
    exponents_o
        Stream of biased exponents, for an entry of K as many as lines.
    """

    def __init__(self, config: KVConfig):
        self.config = config
        self.line_beats = 8 * LINE_BYTES // config.beat_bits
        self.beat_bytes = config.beat_bits // 8
        super().__init__(
            {
                "vector_lines": In(VECTOR_LINE_BITS),
                "exponents": In(EXPONENT_BEAT_BITS),
                "push": In(1),
                "entry": In(ENTRY_LINES),
                "room": Out(1),
                "i": In(stream.Signature(beat_layout(config))),
                "lines": Out(stream.Signature(LINE)),
                "exponents_o": Out(stream.Signature(EXPONENT_BITS)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.queue = queue = SyncFIFOBuffered(width=ENTRY_LINES.size, depth=QUEUE_DEPTH)
        entry = data.View(ENTRY_LINES, queue.r_data)
        sweep = entry.sweep
        behind, wanted, room = Signal(), Signal(), Signal()
        step, line_ends, lines_end, tail_ends = Signal(), Signal(), Signal(), Signal()
        part = Signal(range(self.line_beats))
        number, total = Signal(VECTOR_LINE_BITS), Signal(VECTOR_LINE_BITS)
        m.d.comb += [
            self.room.eq(queue.w_rdy),
            queue.w_en.eq(self.push),
            queue.w_data.eq(self.entry),
            total.eq(Mux(entry.whole, self.vector_lines, sweep.lines)),
            wanted.eq(~behind & (~entry.whole | self._inside(number, sweep))),
            self.i.ready.eq(
                queue.r_rdy & Mux(behind, room, ~wanted | ~self.lines.valid | self.lines.ready)
            ),
            step.eq(self.i.valid & self.i.ready),
            line_ends.eq(step & ~behind & (part == self.line_beats - 1)),
            lines_end.eq(line_ends & (number == total - 1)),
            queue.r_en.eq((lines_end & sweep.value) | tail_ends),
        ]
        with m.If(step & ~behind):
            m.d.sync += part.eq(part + 1)
        with m.If(line_ends):
            m.d.sync += number.eq(Mux(lines_end, 0, number + 1))
        with m.If(lines_end & ~sweep.value):
            m.d.sync += behind.eq(1)
        with m.If(tail_ends):
            m.d.sync += behind.eq(0)
        self._join(m, step & wanted, part, line_ends)
        self._exponents(m, step & behind, lines_end, sweep, room, tail_ends)
        return m

    def _inside(self, number: Signal, sweep: Any) -> Value:
        """Return whether a line of the whole vector was asked for."""
        return (number - sweep.line)[: len(number)] < sweep.lines

    def _join(self, m: Module, step: Value, part: Signal, ends: Signal) -> None:
        """Put the beats of a line side by side."""
        line = Value.cast(self.lines.payload)
        with m.If(self.lines.ready):
            m.d.sync += self.lines.valid.eq(0)
        with m.If(step):
            m.d.sync += self.lines.valid.eq(ends)
            for place in range(self.line_beats):
                with m.If(part == place):
                    m.d.sync += line.word_select(place, self.config.beat_bits).eq(self.i.payload)

    def _exponents(
        self, m: Module, step: Value, begins: Signal, sweep: Any, room: Signal, ends: Signal
    ) -> None:
        """Keep the beats of exponents that were asked for, and give one byte after the other."""
        place = range(self.beat_bytes)
        layout = data.StructLayout(
            {
                "exponents": data.ArrayLayout(EXPONENT_BITS, self.beat_bytes),
                "first": place,
                "last": place,
            }
        )
        # Of a whole entry, and two more: a memory of one row would have no address.
        depth = exponent_beats(self.config) + 2
        m.submodules.kept = kept = SyncFIFOBuffered(width=layout.size, depth=depth)
        skip, left = Signal(VECTOR_LINE_BITS), Signal(VECTOR_LINE_BITS)
        here, beat = Signal(range(self.beat_bytes + 1)), Signal(EXPONENT_BEAT_BITS)
        over, short = skip >= self.beat_bytes, Signal()
        octets = Value.cast(self.i.payload)
        new, old = data.View(layout, kept.w_data), data.View(layout, kept.r_data)
        m.d.comb += [
            room.eq(kept.w_rdy),
            here.eq(self.beat_bytes - skip[: len(new.first)]),
            short.eq(left <= here),
            new.exponents.eq(
                Cat(octets.word_select(n, 8)[:EXPONENT_BITS] for n in range(self.beat_bytes))
            ),
            new.first.eq(skip),
            new.last.eq(Mux(short, skip + left - 1, self.beat_bytes - 1)),
            kept.w_en.eq(step & ~over & left.any()),
            ends.eq(step & (beat == self.exponents - 1)),
        ]
        with m.If(begins):
            m.d.sync += [skip.eq(sweep.line), left.eq(sweep.lines)]
        with m.If(step):
            m.d.sync += beat.eq(Mux(ends, 0, beat + 1))
            with m.If(over):
                m.d.sync += skip.eq(skip - self.beat_bytes)
            with m.Else():
                m.d.sync += [skip.eq(0), left.eq(Mux(short, 0, left - here))]
        self._give(m, kept, old)

    def _give(self, m: Module, kept: Any, beat: Any) -> None:
        """Give the exponents of one beat that were asked for."""
        given, at, final = Signal.like(beat.first), Signal.like(beat.first), Signal()
        m.d.comb += [
            at.eq(beat.first + given),
            final.eq(at == beat.last),
            self.exponents_o.valid.eq(kept.r_rdy),
            self.exponents_o.payload.eq(beat.exponents[at]),
            kept.r_en.eq(self.exponents_o.ready & final),
        ]
        with m.If(kept.r_rdy & self.exponents_o.ready):
            m.d.sync += given.eq(Mux(final, 0, given + 1))
