"""Instruction memory: words of a program in DDR."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from hwroute.isa.fields import ADDRESS_BITS, WORD_BITS, Kind
from hwroute.rtl.axi import DDR_PORT, LINE_BEATS
from hwroute.rtl.decoder import WORD
from hwroute.rtl.issue_layouts import INDEX_BITS
from hwroute.rtl.memory_layouts import REQUEST, beat_layout

BEAT_WORDS = DDR_PORT.data_bits // WORD_BITS


class InstructionReader(wiring.Component):
    """Read the words that `hwroute.rtl.fetch.Fetch` asks for, each a request for one beat.

    A beat is two words: the second one is not asked for if the first one was asked for just before.
    A word that DDR does not have, or fails to give, comes as 0, which is no instruction. Besides
    the latency of the port, `hwroute.memory_timing.INSTRUCTION_READ_CYCLES`; one word a cycle.

    Parameters
    ----------
    words
        Most words on their way: `hwroute.sequencer_config.SequencerConfig.prefetch` twice over, as
        `Fetch` may ask for those that it needs while it waits for others that it no longer needs.

    Members
    -------
    requests, words
        Streams of indices and of `WORD`, as `Fetch` has them.
    forget
        What was read is no longer true: a run begins.
    program
        Line of DDR where the program begins; it stays as it is during a run.
    request, beats
        Streams of `REQUEST` and of beats of DDR, `hwroute.rtl.memory_layouts`.
    """

    def __init__(self, words: int):
        self.depth = words
        super().__init__(
            {
                "requests": In(stream.Signature(INDEX_BITS)),
                "words": Out(stream.Signature(WORD)),
                "forget": In(1),
                "program": In(ADDRESS_BITS[Kind.DDR]),
                "request": Out(stream.Signature(REQUEST)),
                "beats": In(stream.Signature(beat_layout(DDR_PORT.words))),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.order = order = SyncFIFOBuffered(width=2, depth=self.depth)
        self._ask(m, order)
        self._give(m, order)
        return m

    def _ask(self, m: Module, order: Any) -> None:
        """Ask for the beat of a word, and remember which of its words is wanted."""
        index = self.requests.payload
        beat, half = index[1:], index[0]
        asked, known, again = Signal.like(beat), Signal(), Signal()
        free = ~self.request.valid | self.request.ready
        m.d.comb += [
            again.eq(known & (asked == beat)),
            self.requests.ready.eq(order.w_rdy & free),
            order.w_en.eq(self.requests.valid & free),
            order.w_data.eq((half << 1) | again),
        ]
        with m.If(free):
            m.d.sync += self.request.valid.eq(order.w_en & order.w_rdy & ~again)
        with m.If(order.w_en & order.w_rdy):
            m.d.sync += [
                self.request.payload.first.eq(self.program * LINE_BEATS + beat),
                self.request.payload.count.eq(1),
                asked.eq(beat),
                known.eq(1),
            ]
        with m.If(self.forget):
            m.d.sync += known.eq(0)

    def _give(self, m: Module, order: Any) -> None:
        """Give a word of the beat that comes, or of the one before."""
        again, half = order.r_data
        kept = Signal(DDR_PORT.data_bits, reset_less=True)
        beat = self.beats.payload
        fresh, bits = Signal.like(kept), Signal.like(kept)
        free, here = Signal(), Signal()
        m.d.comb += [
            fresh.eq(Mux(beat.error, 0, Value.cast(beat.data))),
            bits.eq(Mux(again, kept, fresh)),
            free.eq(~self.words.valid | self.words.ready),
            here.eq(order.r_rdy & (again | self.beats.valid)),
            order.r_en.eq(free & here),
            self.beats.ready.eq(order.r_rdy & ~again & free),
        ]
        with m.If(free):
            m.d.sync += [
                self.words.valid.eq(here),
                Value.cast(self.words.payload).eq(bits.word_select(half, WORD_BITS)),
            ]
        with m.If(self.beats.valid & self.beats.ready):
            m.d.sync += kept.eq(fresh)
