"""A stream from one clock domain to another."""

from typing import Any

from amaranth.hdl import Module, Value
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import AsyncFIFO
from amaranth.lib.wiring import In, Out

from hwroute.rtl.memory_layouts import width_of

CROSSING_DEPTH = 16
"""Payloads inside a crossing: pointers take up to 4 cycles of either clock to cross, so 8 places
would already carry one payload a cycle of the slower clock."""


class AsyncStream(wiring.Component):
    """Carry a stream from `i_domain` to `o_domain`, one payload a cycle of the slower clock.

    A stream around `amaranth.lib.fifo.AsyncFIFO`, whose Gray counters, synchronisers and reset are
    what is wanted here. A reset of `i_domain` empties it, if it lasts for four cycles of the slower
    clock; one of `o_domain` alone changes nothing.

    Parameters
    ----------
    shape
        Of the payload.
    i_domain, o_domain
        Names of clock domains.

    Members
    -------
    i, o
        Streams, each in its domain.
    """

    def __init__(self, shape: Any, *, i_domain: str, o_domain: str):
        self.i_domain = i_domain
        self.o_domain = o_domain
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.fifo = fifo = AsyncFIFO(
            width=width_of(self.i.payload.shape()),
            depth=CROSSING_DEPTH,
            w_domain=self.i_domain,
            r_domain=self.o_domain,
        )
        m.d.comb += [
            self.i.ready.eq(fifo.w_rdy),
            fifo.w_en.eq(self.i.valid),
            fifo.w_data.eq(self.i.payload),
            self.o.valid.eq(fifo.r_rdy),
            Value.cast(self.o.payload).eq(fifo.r_data),
            fifo.r_en.eq(self.o.ready),
        ]
        return m
