"""Read from memory over AXI, many bursts ahead."""

from typing import Any

from amaranth.hdl import Assert, Cat, Module, Mux, ResetInserter, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from hwroute.rtl.axi import AxiPort, is_error
from hwroute.rtl.bursts import BurstSplitter
from hwroute.rtl.memory_layouts import REQUEST, beat_layout, width_of

FIFO_BYTES = 8 << 10
"""Of beats that have arrived or are on their way: 16 of the longest bursts."""
OUTSTANDING = 32
"""Bursts that may be on their way."""


class MemoryReader(wiring.Component):
    """Give the beats of each request in order. One beat a cycle, without bubbles between bursts.

    A burst is asked for only when there is room for all its beats, so the R channel never waits
    for whoever takes them. `hwroute.timing` has the latencies.

    Parameters
    ----------
    port
        Size of beats and bursts.
    beats
        Size of the memory.

    Members
    -------
    request
        Stream of `REQUEST`.
    o
        Stream of `beat_layout`.
    ar, r
        Channels of the port.
    clear : ``In(1)``
        Forget every request, and what comes of those on their way; `request` is not ready until
        all have been answered.
    idle : ``Out(1)``
        Nothing was asked for that the memory has not answered.
    """

    def __init__(self, port: AxiPort, *, beats: int):
        self.port = port
        self.beats = beats
        self.fifo_beats = FIFO_BYTES // port.data_bytes
        super().__init__(
            {
                "request": In(stream.Signature(REQUEST)),
                "o": Out(stream.Signature(beat_layout(port.words))),
                "ar": Out(stream.Signature(port.address)),
                "r": In(stream.Signature(port.read)),
                "clear": In(1),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        flush = flushing(m, self.clear, self.idle)
        splitter: Any = BurstSplitter(self.port, beats=self.beats)
        m.submodules.splitter = ResetInserter(flush)(splitter)
        m.submodules.order = order = SyncFIFOBuffered(width=2, depth=OUTSTANDING)
        connect_unless(m, flush, self.request, splitter.i)
        m.d.comb += self.idle.eq(splitter.empty & ~order.level.any() & ~self.ar.valid)
        left = Signal()
        room = self._room(m, flush, splitter.o, left)
        burst = splitter.o.payload
        issue = send_address(m, self.port, splitter.o, self.ar, room & order.w_rdy & ~flush)
        m.d.comb += [
            order.w_en.eq(issue),
            order.w_data.eq(Cat(burst.final, burst.refused)),
            left.eq(self.o.valid & self.o.ready),
        ]
        self._collect(m, flush, order)
        return m

    def _room(self, m: Module, flush: Value, bursts: Any, left: Value) -> Value:
        """Count the places of the FIFO that nobody was promised; return whether a burst fits."""
        burst = bursts.payload
        free = Signal(range(self.fifo_beats + 1), init=self.fifo_beats)
        wanted = Signal.like(free)
        m.d.comb += wanted.eq(Mux(burst.refused, 1, burst.beats))
        taken = Mux(bursts.valid & bursts.ready, wanted, 0)
        m.d.sync += free.eq(Mux(flush, self.fifo_beats, free - taken + left))
        return free >= wanted

    def _collect(self, m: Module, flush: Value, order: Any) -> None:
        """Put the beats that arrive into the FIFO, and those that stand for a refused request."""
        final, refused = order.r_data
        width = width_of(self.o.payload.shape())
        fifo = SyncFIFOBuffered(width=width, depth=self.fifo_beats)
        m.submodules.fifo = ResetInserter(flush)(fifo)
        beat = Signal(self.o.payload.shape())
        refuse, taken, ends = Signal(), Signal(), Signal()
        m.d.comb += [
            refuse.eq(order.r_rdy & refused),
            self.r.ready.eq(order.r_rdy & ~refused),
            taken.eq(self.r.valid & self.r.ready),
            ends.eq(refuse | self.r.payload.last),
            order.r_en.eq(ends & (refuse | taken)),
            beat.data.eq(self.r.payload.data),
            beat.error.eq(refuse | is_error(self.r.payload.response)),
            beat.last.eq(final & ends),
            fifo.w_en.eq(refuse | taken),
            fifo.w_data.eq(beat),
            self.o.valid.eq(fifo.r_rdy),
            self.o.payload.eq(fifo.r_data),
            fifo.r_en.eq(self.o.ready),
        ]
        m.d.sync += Assert(flush | ~fifo.w_en | fifo.w_rdy)


def flushing(m: Module, clear: Value, idle: Value) -> Signal:
    """Return whether an engine forgets everything: from `clear` until it is idle."""
    draining = Signal()
    flush = Signal()
    m.d.comb += flush.eq(clear | draining)
    m.d.sync += draining.eq(clear | (draining & ~idle))
    return flush


def connect_unless(m: Module, flush: Value, i: Any, o: Any) -> None:
    """Connect a stream of requests while the engine does not forget them."""
    m.d.comb += [
        o.valid.eq(i.valid & ~flush),
        o.payload.eq(i.payload),
        i.ready.eq(o.ready & ~flush),
    ]


def send_address(m: Module, port: AxiPort, bursts: Any, channel: Any, allowed: Value) -> Signal:
    """Send bursts to AR or AW, those that are not refused; return whether one was taken."""
    burst = bursts.payload
    issue = Signal()
    m.d.comb += [
        bursts.ready.eq(allowed & (~channel.valid | channel.ready)),
        issue.eq(bursts.valid & bursts.ready),
    ]
    with m.If(channel.ready):
        m.d.sync += channel.valid.eq(0)
    with m.If(issue):
        m.d.sync += channel.valid.eq(~burst.refused)
        with m.If(~burst.refused):
            m.d.sync += [
                channel.payload.address.eq(burst.first * port.data_bytes),
                channel.payload.length.eq(burst.beats - 1),
            ]
    return issue
