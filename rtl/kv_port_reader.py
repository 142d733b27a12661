"""Requests of one HBM port for the entries of sweeps, and the beats that answer them."""

from typing import Any

from amaranth.hdl import Assert, Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from hwroute.config import KVConfig
from hwroute.rtl.axi import HBM_PORT
from hwroute.rtl.kv_bank import QUEUE_DEPTH
from hwroute.rtl.kv_layouts import beat_layout
from hwroute.rtl.kv_map import EXPONENT_BEAT_BITS, VECTOR_BEAT_BITS, pairing
from hwroute.rtl.memory_layouts import REQUEST
from hwroute.rtl.memory_port import stream_layouts

ENTRY_REQUEST = data.StructLayout(
    {"first": 32, "count": VECTOR_BEAT_BITS + 1, "split": 1, "gap": VECTOR_BEAT_BITS}
)
"""Ask for ``count`` beats of HBM from ``first`` on, then with ``split`` for the exponents, which
begin ``gap`` beats behind ``first``."""
FIFO_BEATS = 128
"""Beats, on the core's side, that have arrived or are on their way: covers an HBM's latency."""
PIECE_BEATS = 32
"""Of these, what one request asks for at most."""
PIECES = 32
"""Requests that may be on their way: as many as `hwroute.rtl.read_share` lets through."""


class KVPortReader(wiring.Component):
    """Ask a port for parts of slots, and give their beats in order.

    Nothing is asked for that there is no room for, so a shared port never waits. Latency 3 cycles
    from an entry to its request, 2 from a beat to the output; one request and one beat a cycle. A
    request that was refused gives its one beat as often as beats were asked for.

    Parameters
    ----------
    config
        Width of a port.

    Members
    -------
    exponents : ``In``, beats of HBM that the exponents of an entry take; stable
    push, entry : ``In``, queue an entry, `ENTRY_REQUEST`
    room : ``Out(1)``
    read, beats
        Streams of `REQUEST` and of the beats that answer, as `hwroute.rtl.hbm_port` has them.
    o
        Stream of `hwroute.rtl.kv_layouts.beat_layout`.
    error : ``Out(1)``, a beat had an error
    """

    def __init__(self, config: KVConfig):
        self.config = config
        self.pairing = pairing(config)
        arriving, _ = stream_layouts(HBM_PORT, paired=self.pairing == 2)
        super().__init__(
            {
                "exponents": In(EXPONENT_BEAT_BITS),
                "push": In(1),
                "entry": In(ENTRY_REQUEST),
                "room": Out(1),
                "read": Out(stream.Signature(REQUEST)),
                "beats": In(stream.Signature(arriving)),
                "o": Out(stream.Signature(beat_layout(config))),
                "error": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        size = range(PIECE_BEATS + 1)
        m.submodules.pieces = pieces = SyncFIFOBuffered(width=len(Signal(size)), depth=PIECES)
        piece, issue = Signal(size), Signal()
        free = Signal(range(FIFO_BEATS + 1), init=FIFO_BEATS)
        m.d.comb += [pieces.w_en.eq(issue), pieces.w_data.eq(piece)]
        self._ask(m, piece, issue, pieces.w_rdy & (free >= piece))
        self._collect(m, pieces)
        taken = self.o.valid & self.o.ready
        m.d.sync += free.eq(free - Mux(issue, piece, 0) + taken)
        return m

    def _ask(self, m: Module, piece: Signal, issue: Signal, room: Value) -> None:
        """Cut what an entry needs into requests."""
        layout = ENTRY_REQUEST
        m.submodules.queue = queue = SyncFIFOBuffered(width=layout.size, depth=QUEUE_DEPTH)
        entry = data.View(layout, queue.r_data)
        busy, split = Signal(), Signal()
        at, second = Signal(32), Signal(32)
        left, count = Signal.like(entry.count), Signal.like(entry.count)
        longest = PIECE_BEATS * self.pairing
        fits, ends = Signal(), Signal()
        m.d.comb += [
            self.room.eq(queue.w_rdy),
            queue.w_en.eq(self.push),
            queue.w_data.eq(self.entry),
            fits.eq(left <= longest),
            count.eq(Mux(fits, left, longest)),
            piece.eq((count + self.pairing - 1) >> (self.pairing - 1)),
            issue.eq(busy & room & (~self.read.valid | self.read.ready)),
            ends.eq(issue & fits & ~split),
            queue.r_en.eq(~busy | ends),
        ]
        with m.If(self.read.ready):
            m.d.sync += self.read.valid.eq(0)
        with m.If(issue):
            m.d.sync += [
                self.read.valid.eq(1),
                self.read.payload.first.eq(at),
                self.read.payload.count.eq(count),
                at.eq(Mux(fits, second, at + count)),
                left.eq(Mux(fits, self.exponents, left - count)),
                split.eq(split & ~fits),
            ]
        with m.If(queue.r_en):
            m.d.sync += [
                busy.eq(queue.r_rdy),
                at.eq(entry.first),
                second.eq(entry.first + entry.gap),
                left.eq(entry.count),
                split.eq(entry.split),
            ]

    def _collect(self, m: Module, pieces: Any) -> None:
        """Keep the beats that arrive until they are taken."""
        beat = self.beats.payload
        words = Value.cast(beat.data)
        m.submodules.fifo = fifo = SyncFIFOBuffered(width=len(words) + 1, depth=FIFO_BEATS)
        got = Signal(range(PIECE_BEATS))
        step, final = Signal(), Signal()
        m.d.comb += [
            self.beats.ready.eq(fifo.w_rdy),
            fifo.w_en.eq(self.beats.valid),
            fifo.w_data.eq(Cat(words, beat.last)),
            self.o.valid.eq(fifo.r_rdy & pieces.r_rdy),
            Value.cast(self.o.payload).eq(fifo.r_data[:-1]),
            step.eq(self.o.valid & self.o.ready),
            final.eq(got == pieces.r_data - 1),
            pieces.r_en.eq(step & final),
            # The last beat of a request that was refused comes too early, and stays.
            fifo.r_en.eq(step & (final | ~fifo.r_data[-1])),
        ]
        m.d.sync += [
            self.error.eq(self.beats.valid & self.beats.ready & beat.error),
            Assert(~self.beats.valid | fifo.w_rdy),
        ]
        with m.If(step):
            m.d.sync += got.eq(Mux(final, 0, got + 1))
