"""The KV history buffer: data of the entries that the next attention layer reuses."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hwroute.config import KVConfig
from hwroute.rtl.crossbar import KVPort, connect_crossbar
from hwroute.rtl.kv_bank import KVBank
from hwroute.rtl.kv_layouts import beat_layout, bits, order_layout, pass_layout
from hwroute.rtl.ram import Ram


class KVHistoryBuffer(wiring.Component):
    """Bring an attention's entries to the array: from HBM as they pass, or from the banks.

    Takes the entries of a pass (K or V) in order, one a cycle. Every port and every bank then works
    on its own, `QUEUE_DEPTH` entries ahead of the slowest at most: a round fixes order, not time.
    Each moves one beat a cycle; `hwroute.timing.KV_PORT_CYCLES` is the latency of a port.

    Parameters
    ----------
    config : :class:`KVConfig`
        Ports, banks, places, beats.

    Members
    -------
    i : stream of the entries of passes, each pass closed by ``end``; at least 1 beat of an entry,
        and with ``hit`` or ``keep`` as many as of every such entry
    hbm_0, ... : streams of beats that arrive from the HBM ports, entry by entry in order
    port_0, ... : streams of the same beats, passed on
    bank_0, ... : streams of beats of the entries that each bank holds
    """

    def __init__(self, config: KVConfig):
        self.config = config
        beat = beat_layout(config)
        members: dict[str, Any] = {
            "i": In(stream.Signature(pass_layout(config))),
        }
        members |= {f"hbm_{n}": In(stream.Signature(beat)) for n in range(config.hbm_ports)}
        members |= {f"port_{n}": Out(stream.Signature(beat)) for n in range(config.hbm_ports)}
        members |= {f"bank_{n}": Out(stream.Signature(beat)) for n in range(config.buffer_banks)}
        super().__init__(members)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        ports = [KVPort(self.config) for _ in range(self.config.hbm_ports)]
        banks = [KVBank(self.config) for _ in range(self.config.buffer_banks)]
        entry, miss = self.i.payload.entry, Signal()
        taken = Signal()
        room = Signal()
        m.d.comb += [
            room.eq(Cat([port.room for port in ports], [bank.room for bank in banks]).all()),
            self.i.ready.eq(room),
            taken.eq(self.i.valid & room & ~entry.end),
            miss.eq(taken & ~entry.hit),
        ]
        for number, port in enumerate(ports):
            m.submodules[f"port_{number}"] = port
            connect(m, flipped(getattr(self, f"hbm_{number}")), port.i)
            connect(m, port.o, flipped(getattr(self, f"port_{number}")))
            m.d.comb += [
                port.beats.eq(self.i.payload.beats),
                port.push.eq(miss & (entry.port == number)),
                port.keep.eq(entry.keep),
                port.bank.eq(entry.bank),
            ]
        for number, bank in enumerate(banks):
            m.submodules[f"bank_{number}"] = bank
            connect(m, bank.o, flipped(getattr(self, f"bank_{number}")))
            here = entry.bank == number
            m.d.comb += [
                bank.beats.eq(self.i.payload.beats),
                bank.begin_round.eq(taken & entry.first),
                bank.begin_pass.eq(self.i.valid & room & entry.end),
                bank.read.eq(taken & entry.hit & here),
                bank.write.eq(miss & entry.keep & here),
                bank.place.eq(entry.place),
                bank.value.eq(self.i.payload.value),
                bank.port.eq(entry.port),
            ]
        connect_crossbar(m, ports, banks)
        return m


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
