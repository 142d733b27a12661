"""The read path of the KV memory: orders in, the data of their entries out."""

from typing import Any

from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, connect, flipped

from hwroute.config import KVConfig
from hwroute.rtl.kv_buffer import KVHistoryBuffer, KVPasses
from hwroute.rtl.kv_layouts import order_layout


class KVReadPath(wiring.Component):
    """What stands behind the scheduler: each order twice, for K and for V, through the buffer.

    Latencies and rates are those of `KVPasses` and `KVHistoryBuffer`.

    Parameters
    ----------
    config
        Ports, banks, places, beats.

    Members
    -------
    i
        Stream of `order_layout`, as `KVScheduler` gives it.
    beats : ``In``, of every K and every V, up to ``config.entry_beats``; stable
    hbm_0, ..., port_0, ..., bank_0, ...
        As in `KVHistoryBuffer`.
    """

    def __init__(self, config: KVConfig):
        self.config = config
        self._buffer = KVHistoryBuffer(config)
        members = dict(self._buffer.signature.members)
        members["beats"] = In(range(config.entry_beats + 1))
        members["i"] = In(stream.Signature(order_layout(config)))
        super().__init__(members)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.buffer = buffer = self._buffer
        m.submodules.passes = passes = KVPasses(self.config)
        connect(m, flipped(self.i), passes.i)
        connect(m, passes.o, buffer.i)
        m.d.comb += passes.beats.eq(self.beats)
        for number in range(self.config.hbm_ports):
            connect(m, flipped(getattr(self, f"hbm_{number}")), getattr(buffer, f"hbm_{number}"))
            connect(m, getattr(buffer, f"port_{number}"), flipped(getattr(self, f"port_{number}")))
        for number in range(self.config.buffer_banks):
            connect(m, getattr(buffer, f"bank_{number}"), flipped(getattr(self, f"bank_{number}")))
        return m
