"""The KV history buffer: data of the entries that the next attention layer reuses."""

from typing import Any

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hwroute.config import KVConfig
from hwroute.rtl.crossbar import KVPort, connect_crossbar
from hwroute.rtl.kv_bank import KVBank
from hwroute.rtl.kv_layouts import beat_layout, pass_layout


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
