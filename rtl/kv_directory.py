"""The KV directory: which slot holds K and V of a token at a layer, and the dealing of slots."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from hwroute.config import KVConfig
from hwroute.kv import KVOp
from hwroute.rtl.kv_layouts import bits, entry_layout, request_layout, slot_layout
from hwroute.rtl.ram import Ram


class KVDirectory(wiring.Component):
    """Carry out RESET, WRITE, SKIP and EVICT; look entries up when there is no such request.

    WRITE and EVICT take 1 cycle, SKIP takes 2, RESET `hwroute.timing.kv_reset_cycles`.

    Parameters
    ----------
    config
        Ports, tokens, layers.

    Members
    -------
    i : stream of requests, of the four kinds only
    slots : stream of the slots given by WRITE, in order
    look : ``In(1)``, look up `layer`, `token`; no request may be at `i`
    layer, token : ``In``
    entry : ``Out``, the entry, one cycle later; held until the next `look`
    reused : ``Out(1)``, one cycle later: the token has the same entry at the next layer
    """

    def __init__(self, config: KVConfig):
        self.config = config
        super().__init__(
            {
                "i": In(stream.Signature(request_layout(config))),
                "slots": Out(stream.Signature(slot_layout(config))),
                "look": In(1),
                "layer": In(bits(config.max_layers)),
                "token": In(bits(config.max_tokens)),
                "entry": Out(entry_layout(config)),
                "reused": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        rows = self.config.max_layers * self.config.max_tokens
        row = entry_layout(self.config)
        m.submodules.entries = entries = Ram(row, rows)
        m.submodules.plane = plane = Ram(1, rows)
        request = self.i.payload
        token = request.token[: len(self.token)]
        copying = Signal()
        is_skip = request.op == KVOp.SKIP
        is_write = request.op == KVOp.WRITE
        reset_done = Signal()
        slot_free = ~self.slots.valid | self.slots.ready
        with m.Switch(request.op):
            with m.Case(KVOp.RESET):
                m.d.comb += self.i.ready.eq(reset_done)
            with m.Case(KVOp.WRITE):
                m.d.comb += self.i.ready.eq(slot_free)
            with m.Case(KVOp.SKIP):
                m.d.comb += self.i.ready.eq(copying)
            with m.Default():
                m.d.comb += self.i.ready.eq(1)
        done = self.i.valid & self.i.ready
        m.d.sync += copying.eq(self.i.valid & is_skip & ~copying)
        slot = self._deal(m, request, done, reset_done)
        m.d.comb += [
            entries.read_addr.eq(
                Mux(self.look, Cat(self.token, self.layer), Cat(token, request.layer - 1))
            ),
            entries.read_en.eq(self.look | (self.i.valid & is_skip)),
            self.entry.eq(entries.read_data),
            plane.read_addr.eq(Cat(self.token, (self.layer + 1)[: len(self.layer)])),
            plane.read_en.eq(self.look),
            self.reused.eq(plane.read_data),
            entries.write_addr.eq(Cat(token, request.layer)),
            entries.write_data.eq(
                Mux(
                    is_skip,
                    Value.cast(entries.read_data),
                    # Bits of an evicted entry beyond `valid` are read by nobody.
                    Cat(is_write, request.layer, slot.port, slot.slot),
                )
            ),
            entries.write_en.eq(done & (request.op != KVOp.RESET)),
            plane.write_addr.eq(entries.write_addr),
            plane.write_data.eq(is_skip),
            plane.write_en.eq(entries.write_en),
        ]
        return m

    def _deal(self, m: Module, request: Any, done: Any, reset_done: Signal) -> Any:
        """Keep what was dealt at each layer and from each port; return the slot that is next."""
        config = self.config
        ports = bits(config.hbm_ports)
        m.submodules.dealt = dealt = memory.Memory(shape=ports, depth=config.max_layers, init=[])
        m.submodules.used = used = memory.Memory(
            shape=bits(config.port_slots), depth=config.hbm_ports, init=[]
        )
        dealt_read, dealt_write = dealt.read_port(domain="comb"), dealt.write_port()
        used_read, used_write = used.read_port(domain="comb"), used.write_port()
        slot = Signal(slot_layout(config), name="slot")
        port = Signal(ports, name="port")
        clearing = Signal(range(max(config.max_layers, config.hbm_ports)))
        is_reset = self.i.valid & (request.op == KVOp.RESET)
        given = done & (request.op == KVOp.WRITE)
        with m.If(is_reset):
            m.d.sync += clearing.eq(Mux(reset_done, 0, clearing + 1))
        m.d.comb += [
            reset_done.eq(clearing == max(config.max_layers, config.hbm_ports) - 1),
            dealt_read.addr.eq(request.layer),
            used_read.addr.eq(port),
            slot.layer.eq(request.layer),
            slot.token.eq(request.token),
            # The number of ports is a power of two, so the sum wraps by itself.
            port.eq((dealt_read.data + request.layer) & (config.hbm_ports - 1)),
            slot.port.eq(port),
            slot.slot.eq(used_read.data),
            dealt_write.addr.eq(Mux(is_reset, clearing, request.layer)),
            dealt_write.data.eq(Mux(is_reset, 0, dealt_read.data + 1)),
            dealt_write.en.eq(given | (is_reset & (clearing < config.max_layers))),
            used_write.addr.eq(Mux(is_reset, clearing, port)),
            used_write.data.eq(Mux(is_reset, 0, used_read.data + 1)),
            used_write.en.eq(given | (is_reset & (clearing < config.hbm_ports))),
        ]
        with m.If(self.slots.ready):
            m.d.sync += self.slots.valid.eq(0)
        with m.If(given):
            m.d.sync += [self.slots.valid.eq(1), self.slots.payload.eq(slot)]
        return slot
