"""The read path of the KV memory: orders in, the data of their entries out."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hwroute.config import KVConfig
from hwroute.rtl.kv_buffer import KVHistoryBuffer
from hwroute.rtl.kv_layouts import bits, order_layout, pass_layout
from hwroute.rtl.ram import Ram


class KVPasses(wiring.Component):
    """Give an order twice: as the pass over K while it arrives, then again as the pass over V.

    Latency 1 cycle, one entry a cycle.

    Parameters
    ----------
    config
        Tokens: the longest order.

    Members
    -------
    beats : ``In``, of every K and every V; stable
    i : stream of orders
    o : stream of passes
    """

    def __init__(self, config: KVConfig):
        self.config = config
        super().__init__(
            {
                "beats": In(range(config.entry_beats + 1)),
                "i": In(stream.Signature(order_layout(config))),
                "o": Out(stream.Signature(pass_layout(config))),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        layout = order_layout(self.config)
        m.submodules.stored = stored = Ram(layout, self.config.max_tokens + 1)
        row = Signal(bits(self.config.max_tokens + 1))
        repeat, from_store = Signal(), Signal()
        free = ~self.o.valid | self.o.ready
        entry, held = Signal(layout), Signal(layout)
        m.d.comb += [
            self.i.ready.eq(free & ~repeat),
            stored.write_en.eq(self.i.valid & self.i.ready),
            stored.write_addr.eq(row),
            stored.write_data.eq(self.i.payload),
            stored.read_addr.eq(row),
            stored.read_en.eq(free & repeat),
            entry.eq(Mux(from_store, stored.read_data, held)),
            self.o.payload.entry.eq(entry),
            self.o.payload.value.eq(from_store),
            self.o.payload.beats.eq(self.beats),
        ]
        last = Signal.like(row)
        with m.If(free):
            m.d.sync += [self.o.valid.eq(repeat | self.i.valid), from_store.eq(repeat)]
            m.d.sync += held.eq(self.i.payload)
            with m.If(repeat | self.i.valid):
                m.d.sync += row.eq(row + 1)
            with m.If(~repeat & self.i.valid & self.i.payload.end):
                m.d.sync += [repeat.eq(1), last.eq(row), row.eq(0)]
            with m.If(repeat & (row == last)):
                m.d.sync += [repeat.eq(0), row.eq(0)]
        return m


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
