"""Fetch instruction words ahead of their use."""

from typing import Any

from amaranth.hdl import Module, Mux, ResetInserter, Signal, Value
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from hwroute.rtl.decoder import DECODED, WORD, Decoder
from hwroute.rtl.issue_layouts import INDEX_BITS
from hwroute.sequencer_config import SequencerConfig


class Fetch(wiring.Component):
    """Ask for the words from an index on, decode them, drop them where the program goes elsewhere.

    The first word of another way is asked for in the cycle after it is known. A word leaves
    `hwroute.timing.FETCH_CYCLES` after it came. One a cycle where there is room for all that are
    on their way (`hwroute.timing.sequencer_prefetch`).

    Parameters
    ----------
    config
        Sizes.

    Members
    -------
    requests
        Stream of indices, below ``length``.
    words
        Stream of `WORD`, one for each request in their order, as late as the memory likes. Always
        ready. A word that cannot be read should come as 0, which is no instruction.
    o
        Stream of `DECODED`; what waits here goes when ``redirect`` is set.
    enable
        Requests may be made.
    redirect, target
        Go on at this index.
    length
        Of the program.
    """

    def __init__(self, config: SequencerConfig):
        self.config = config
        super().__init__(
            {
                "requests": Out(stream.Signature(INDEX_BITS)),
                "words": In(stream.Signature(WORD)),
                "o": Out(stream.Signature(DECODED)),
                "enable": In(1),
                "redirect": In(1),
                "target": In(INDEX_BITS),
                "length": In(INDEX_BITS + 1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        prefetch = self.config.prefetch
        flush = ResetInserter(self.redirect)
        queue = fifo.SyncFIFO(width=data.Layout.cast(WORD).size, depth=prefetch)
        decoder: Any = Decoder()
        m.submodules.queue, m.submodules.decoder = flush(queue), flush(decoder)

        # Words that are asked for or here, words that are asked for, and of these the first ones
        # that the program no longer wants. They are few: a word that is wanted comes behind them.
        owed = Signal(range(prefetch + 1))
        asked = Signal(range(2 * prefetch + 1))
        stale = Signal.like(asked)
        self._request(m, asked, owed, decoder.i.ready & decoder.i.valid)
        with m.If(self.redirect):
            m.d.sync += stale.eq(asked - self.words.valid)
        with m.Elif(self.words.valid & stale.any()):
            m.d.sync += stale.eq(stale - 1)
        m.d.comb += [
            self.words.ready.eq(1),
            queue.w_data.eq(Value.cast(self.words.payload)),
            queue.w_en.eq(self.words.valid & ~stale.any()),
            decoder.i.payload.eq(queue.r_data),
            decoder.i.valid.eq(queue.r_rdy),
            queue.r_en.eq(decoder.i.ready),
            self.o.payload.eq(decoder.o.payload),
            self.o.valid.eq(decoder.o.valid),
            decoder.o.ready.eq(self.o.ready),
        ]
        return m

    def _request(self, m: Module, asked: Signal, owed: Signal, leaves: Value) -> None:
        """Ask for the next word while there is room for it."""
        prefetch = self.config.prefetch
        following = Signal(INDEX_BITS + 1)
        index, room, ask = Signal(INDEX_BITS + 1), Signal(), Signal()
        free = ~self.requests.valid | self.requests.ready
        m.d.comb += [
            index.eq(Mux(self.redirect, self.target, following)),
            room.eq((self.redirect | (owed != prefetch)) & (asked != 2 * prefetch)),
            ask.eq(self.enable & free & room & (index < self.length)),
        ]
        with m.If(free):
            m.d.sync += self.requests.valid.eq(ask)
        with m.If(ask):
            m.d.sync += self.requests.payload.eq(index)
        m.d.sync += [
            following.eq(index + ask),
            owed.eq(Mux(self.redirect, 0, owed - leaves) + ask),
            asked.eq(asked + ask - self.words.valid),
        ]
