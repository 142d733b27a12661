"""Batches of a sweep: which sources bring an entry together."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from hwroute.config import Config
from hwroute.rtl.attention_layouts import batch_layout, source_count
from hwroute.rtl.kv_layouts import bits

DEPTH = 4
"""Batches that wait to be taken."""


class KVBatches(wiring.Component):
    """Collect the entries of a sweep into batches. One entry a cycle.

    A batch ends before an entry that begins a round, before one whose source brings an entry
    already, and with the sweep. Latency 2 cycles from the entry after it, or the sweep's end.

    Parameters
    ----------
    config
        Sources and tokens.

    Members
    -------
    push : ``In(1)``, there is an entry, or with ``end`` the end of the sweep
    end, first, source, token : ``In``, whether the entry begins a round, who brings it, its token
    room : ``Out(1)``
    o
        Stream of `hwroute.rtl.attention_layouts.batch_layout`.
    """

    def __init__(self, config: Config):
        self.config = config
        self.sources = source_count(config)
        super().__init__(
            {
                "push": In(1),
                "end": In(1),
                "first": In(1),
                "source": In(bits(self.sources)),
                "token": In(bits(config.kv.max_tokens)),
                "room": Out(1),
                "o": Out(stream.Signature(batch_layout(self.config))),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        layout = batch_layout(self.config)
        m.submodules.done = done = SyncFIFOBuffered(width=layout.size, depth=DEPTH)
        entries = [
            data.View(entry.shape(), Signal(entry.shape(), name=f"entry_{number}"))
            for number, entry in enumerate(self.o.payload.sources)
        ]
        count, here = Signal(range(self.sources + 1)), Signal(self.sources)
        taken, begins = Signal(self.sources), Signal()
        batch = data.View(layout, done.w_data)
        m.d.comb += [
            self.room.eq(done.w_rdy),
            here.eq(1 << self.source),
            begins.eq(self.first | (taken & here).any()),
            done.w_en.eq(self.push & (self.end | (begins & taken.any()))),
            batch.count.eq(count),
            batch.last.eq(self.end),
            self.o.valid.eq(done.r_rdy),
            Value.cast(self.o.payload).eq(done.r_data),
            done.r_en.eq(self.o.ready),
        ]
        with m.If(self.push):
            m.d.sync += count.eq(Mux(self.end, 0, Mux(begins, 1, count + 1)))
        for number, entry in enumerate(entries):
            m.d.comb += [taken[number].eq(entry.valid), batch.sources[number].eq(entry)]
            with m.If(self.push & (self.end | begins)):
                m.d.sync += entry.valid.eq(0)
            with m.If(self.push & ~self.end & here[number]):
                m.d.sync += [
                    entry.valid.eq(1),
                    entry.index.eq(Mux(begins, 0, count)),
                    entry.token.eq(self.token),
                ]
        return m
