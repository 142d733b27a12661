"""Which bank or port a round serves next."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwroute.config import KVConfig
from hwroute.rtl.kv_layouts import bits
from hwroute.rtl.kv_queues import QueueKind, queue_layout
from hwroute.rtl.select import lowest_set


class KVPicker(wiring.Component):
    """Go through the banks, then the ports, of a round; a port's *keep* queue goes first.

    Parameters
    ----------
    config
        Banks and ports.

    Members
    -------
    begin_round : ``In(1)``, every bank and port may serve one entry
    held, keep, rest : ``In``, which queues hold a token
    spent : ``In(1)``, the round has no write left
    choose : ``In(1)``, choose the queue that is next
    any : ``Out(1)``, whether there is one, in the same cycle
    queue : ``Out``, the one chosen last
    close : ``In(1)``, its bank or port is done for this round
    port, close_port : ``In``, the same for a given port
    port_open : ``Out(1)``, that port may still serve
    """

    def __init__(self, config: KVConfig):
        self.config = config
        super().__init__(
            {
                "begin_round": In(1),
                "held": In(config.buffer_banks),
                "keep": In(config.hbm_ports),
                "rest": In(config.hbm_ports),
                "spent": In(1),
                "choose": In(1),
                "any": Out(1),
                "queue": Out(queue_layout(config)),
                "close": In(1),
                "port": In(bits(config.hbm_ports)),
                "close_port": In(1),
                "port_open": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        banks, ports = self.config.buffer_banks, self.config.hbm_ports
        banks_open, ports_open = Signal(banks), Signal(ports)
        keep = Signal(ports, name="may_keep")
        opening = self.begin_round
        m.d.comb += keep.eq(self.keep & (opening | ~self.spent).replicate(ports))
        held = self.held & (banks_open | opening.replicate(banks))
        others = (keep | self.rest) & (ports_open | opening.replicate(ports))
        choice = lowest_set(m, Cat(held, others), "next")
        is_bank = choice.number < banks
        number = Signal(len(self.queue.number), name="number")
        m.d.comb += [
            self.any.eq(choice.any),
            number.eq(Mux(is_bank, choice.number, choice.number - banks)),
            self.port_open.eq(ports_open.bit_select(self.port, 1)),
        ]
        wanted = Mux(keep.bit_select(number, 1), QueueKind.KEEP, QueueKind.REST)
        with m.If(self.choose):
            m.d.sync += [
                self.queue.number.eq(number),
                self.queue.kind.eq(Mux(is_bank, QueueKind.HELD, wanted)),
            ]
        with m.If(opening):
            m.d.sync += [banks_open.eq(-1), ports_open.eq(-1)]
        with m.Elif(self.close & (self.queue.kind == QueueKind.HELD)):
            m.d.sync += banks_open.bit_select(self.queue.number, 1).eq(0)
        with m.Elif(self.close):
            m.d.sync += ports_open.bit_select(self.queue.number, 1).eq(0)
        with m.Elif(self.close_port):
            m.d.sync += ports_open.bit_select(self.port, 1).eq(0)
        return m
