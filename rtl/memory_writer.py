"""Write to memory over AXI, and know when it is written."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, ResetInserter, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from hwroute.rtl.axi import AxiPort, Response, is_error
from hwroute.rtl.bursts import BURST, BurstSplitter
from hwroute.rtl.memory_layouts import ANSWER, REQUEST, store_layout
from hwroute.rtl.memory_reader import OUTSTANDING, connect_unless, flushing, send_address

BURSTS_AHEAD = 4
"""Bursts whose address may be sent before their data."""


class MemoryWriter(wiring.Component):
    """Write the beats of requests in order, and answer each when all of it is written.

    One beat a cycle, without bubbles between bursts. The data of a request that is refused are
    taken and dropped. `hwroute.timing` has the latencies.

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
    i
        Stream of `store_layout`: the beats of all requests.
    answer
        Stream of `ANSWER`, one for each request.
    aw, w, b
        Channels of the port.
    clear : ``In(1)``
        Forget every request; bursts whose address was sent end with beats that write nothing.
        `request` is not ready until the memory has answered them.
    idle : ``Out(1)``
        Nothing was sent that the memory has not answered.
    """

    def __init__(self, port: AxiPort, *, beats: int):
        self.port = port
        self.beats = beats
        super().__init__(
            {
                "request": In(stream.Signature(REQUEST)),
                "i": In(stream.Signature(store_layout(port.words))),
                "answer": Out(stream.Signature(ANSWER)),
                "aw": Out(stream.Signature(port.address)),
                "w": Out(stream.Signature(port.write)),
                "b": In(stream.Signature(Response)),
                "clear": In(1),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        flush = flushing(m, self.clear, self.idle)
        splitter: Any = BurstSplitter(self.port, beats=self.beats)
        m.submodules.splitter = ResetInserter(flush)(splitter)
        connect_unless(m, flush, self.request, splitter.i)
        burst = splitter.o.payload
        width = BURST["beats"].width + 1
        m.submodules.chunks = chunks = SyncFIFOBuffered(width=width, depth=BURSTS_AHEAD)
        m.submodules.order = order = SyncFIFOBuffered(width=2, depth=OUTSTANDING)
        room = chunks.w_rdy & order.w_rdy & ~flush
        issue = send_address(m, self.port, splitter.o, self.aw, room)
        m.d.comb += [
            chunks.w_en.eq(issue),
            chunks.w_data.eq(Cat(burst.refused, burst.beats)),
            order.w_en.eq(issue),
            order.w_data.eq(Cat(burst.final, burst.refused)),
            self.idle.eq(
                splitter.empty
                & ~self.aw.valid
                & ~self.w.valid
                & ~chunks.level.any()
                & ~order.level.any()
            ),
        ]
        self._send(m, flush, chunks)
        self._collect(m, flush, order)
        return m

    def _send(self, m: Module, flush: Value, chunks: Any) -> None:
        """Send the data of the bursts; drop those of a refused one."""
        refused, beats = chunks.r_data[0], chunks.r_data[1:]
        sent = Signal(len(beats))
        step, last, bare = Signal(), Signal(), Signal()
        free = refused | ~self.w.valid | self.w.ready
        m.d.comb += [
            # When the engine forgets, nobody gives the data of a refused burst.
            bare.eq(refused & (flush | ~beats.any())),
            self.i.ready.eq(chunks.r_rdy & free & ~bare & ~flush),
            step.eq(chunks.r_rdy & free & (self.i.valid | flush | bare)),
            last.eq((sent == beats - 1) | bare),
            chunks.r_en.eq(step & last),
        ]
        with m.If(self.w.ready):
            m.d.sync += self.w.valid.eq(0)
        with m.If(step):
            m.d.sync += sent.eq(Mux(last, 0, sent + 1))
            with m.If(~refused):
                m.d.sync += [
                    self.w.valid.eq(1),
                    self.w.payload.data.eq(self.i.payload.data),
                    self.w.payload.strobe.eq(Mux(flush, 0, self.i.payload.strobe)),
                    self.w.payload.last.eq(last),
                ]

    def _collect(self, m: Module, flush: Value, order: Any) -> None:
        """Answer a request when the memory has answered its bursts."""
        final, refused = order.r_data
        failed, error = Signal(), Signal()
        step = Signal()
        free = ~self.answer.valid | self.answer.ready
        m.d.comb += [
            self.b.ready.eq(order.r_rdy & ~refused & free),
            step.eq(order.r_rdy & free & (refused | self.b.valid)),
            order.r_en.eq(step),
            error.eq(failed | refused | is_error(self.b.payload)),
        ]
        with m.If(free):
            m.d.sync += self.answer.valid.eq(step & final & ~flush)
        with m.If(step):
            m.d.sync += [self.answer.payload.error.eq(error), failed.eq(error & ~final)]
        with m.If(flush):
            m.d.sync += [self.answer.valid.eq(0), failed.eq(0)]
