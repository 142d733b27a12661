"""A port to an HBM pseudo-channel: engines at the memory's clock, streams at the machine's."""

from typing import Any

from amaranth.hdl import DomainRenamer, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import Out, connect, flipped

from hwroute.config import Config
from hwroute.errors import InputError
from hwroute.isa.fields import BEAT_BYTES
from hwroute.rtl.async_stream import AsyncStream
from hwroute.rtl.axi import HBM_PORT
from hwroute.rtl.memory_port import MemoryPort, memory_members

RESET_CYCLES = 4
"""Shortest reset of ``sync``, in cycles of the slower clock: what crosses must see it through its
synchronisers before it ends."""
SETTLE_CYCLES = 4
"""From hearing that the memory's side is at rest to seeing the last payload that it sent."""


class HBMPort(wiring.Component):
    """A `MemoryPort` in the domain ``memory``, with streams in the machine's domain, ``sync``.

    One beat a cycle of the slower side: at twice the machine's clock a port of 256 bits fills beats
    of 512. A reset of ``sync`` alone, for `RESET_CYCLES`, may come at any time: transactions on
    their way run to their end and are forgotten, and requests are taken after that. A reset of
    ``memory``, which resets the memory too, must lie within one of ``sync``.

    Parameters
    ----------
    config
        Size of a port (`MemoryConfig.hbm_port_bytes`), and its width on the machine's side
        (`KVConfig.beat_bits`): one beat of the memory, or two.

    Members
    -------
    read, beats, write, data, answer
        As those of `MemoryPort`, in ``sync``.
    axi
        The port, in ``memory``.

    Raises
    ------
    InputError
        The width is another.
    """

    DOMAINS = ("memory",)

    def __init__(self, config: Config):
        width, widths = config.kv.beat_bits, (HBM_PORT.data_bits, 2 * HBM_PORT.data_bits)
        if width not in widths:
            raise InputError(
                f"kv.beat_bits must be {widths[0]} or {widths[1]} for HBM ports, not {width!r}"
            )
        self.paired = width == widths[1]
        self.memory_beats = config.memory.hbm_port_bytes // BEAT_BYTES
        super().__init__(memory_members(HBM_PORT, paired=self.paired))

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        port: Any = MemoryPort(HBM_PORT, beats=self.memory_beats, paired=self.paired)
        m.submodules.port = DomainRenamer("memory")(port)
        connect(m, port.axi, flipped(self.axi))
        running = self._handshake(m, port)
        for name, member in self.signature.members.items():
            if name == "axi":
                continue
            here, there = getattr(self, name), getattr(port, name)
            shape = here.payload.shape()
            if member.flow is Out:
                crossing = AsyncStream(shape, i_domain="memory", o_domain="sync")
                connect(m, there, crossing.i)
                m.d.comb += [
                    here.valid.eq(crossing.o.valid & running),
                    here.payload.eq(crossing.o.payload),
                    # What the reset left behind is thrown away.
                    crossing.o.ready.eq(here.ready | ~running),
                ]
            else:
                crossing = AsyncStream(shape, i_domain="sync", o_domain="memory")
                connect(m, crossing.o, there)
                m.d.comb += [
                    crossing.i.valid.eq(here.valid & running),
                    crossing.i.payload.eq(here.payload),
                    here.ready.eq(crossing.i.ready & running),
                ]
            m.submodules[name] = crossing
        return m

    def _handshake(self, m: Module, port: Any) -> Signal:
        """After a reset let the memory's side come to rest; return whether that is over."""
        forget, running = Signal(init=1), Signal()
        forgotten, heard = Signal(), Signal()
        settled = Signal(range(SETTLE_CYCLES))
        m.submodules.tell = FFSynchronizer(forget, port.clear, o_domain="memory")
        m.submodules.hear = FFSynchronizer(forgotten, heard)
        m.d.memory += forgotten.eq(port.clear & port.idle)
        with m.If(forget & heard):
            m.d.sync += settled.eq(settled + 1)
            with m.If(settled == SETTLE_CYCLES - 1):
                m.d.sync += forget.eq(0)
        with m.If(~forget & ~heard):
            m.d.sync += running.eq(1)
        return running
