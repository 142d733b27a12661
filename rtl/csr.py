"""The control and status registers behind an AXI4-Lite port, from the table of `hwroute.csr`."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hwroute import csr
from hwroute.config import Config
from hwroute.csr import Csr, Kind
from hwroute.rtl.axi import Response

WORD_BITS = 32
WRITE = data.StructLayout({"data": WORD_BITS, "strobe": WORD_BITS // 8})
"""Payload of W: a word, and which of its bytes count."""
READ = data.StructLayout({"data": WORD_BITS, "response": Response})
"""Payload of R."""
UPDATE = data.StructLayout({"valid": 1, "address": csr.ADDRESS_BITS, "bits": 32, "mask": 32})
"""A write in this cycle, and which bits of the word it changes."""


class ControlRegisters(wiring.Component):
    """Let a host start runs, pass arguments, read status and counters.

    `hwroute.csr` says what is where; other addresses read as 0. From address and word to the answer
    a write takes `hwroute.timing.CSR_WRITE_CYCLES`, one a cycle; a read
    `hwroute.timing.CSR_READ_CYCLES` from its address, one at a time. Every response is OKAY.

    Parameters
    ----------
    config
        Of the overlay: it says how many counters there are.

    Members
    -------
    aw, w, b, ar, r
        Channels of AXI4-Lite: streams of byte addresses, `WRITE`, `Response`, addresses, `READ`.
    irq
        What a Vitis kernel calls ``interrupt``.
    start, idle, finished
        Of the sequencer.
    prompt, ...
        Out: each argument by its name.
    error, ... overflowed, ... cycles, ...
        In: each status; an event that sets a flag; what a counter adds in this cycle.
    """

    def __init__(self, config: Config):
        if not isinstance(config, Config):
            raise TypeError(f"Config must be a Config, not {config!r}")
        self.config = config
        self.table = csr.csr_table(config)
        members: dict[str, Any] = {
            "aw": In(stream.Signature(csr.ADDRESS_BITS)),
            "w": In(stream.Signature(WRITE)),
            "b": Out(stream.Signature(Response)),
            "ar": In(stream.Signature(csr.ADDRESS_BITS)),
            "r": Out(stream.Signature(READ)),
            "irq": Out(1),
            "start": Out(1),
            "idle": In(1),
            "finished": In(1),
        }
        for one in self.table:
            is_argument = one.kind is Kind.ARGUMENT
            members[one.name] = Out(one.bits) if is_argument else In(one.step_bits or one.bits)
        super().__init__(members)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        update, reads_control = self._take_writes(m), Signal()
        words = {one.offset: self._hold(m, one, update) for one in self.table}
        words |= self._control(m, update, reads_control)
        self._answer_reads(m, words, reads_control)
        return m

    def _take_writes(self, m: Module) -> data.View:
        """Take an address and a word together."""
        update = Signal(UPDATE)
        m.d.comb += [
            update.valid.eq(self.aw.valid & self.w.valid & (~self.b.valid | self.b.ready)),
            update.address.eq(self.aw.payload),
            update.bits.eq(self.w.payload.data),
            update.mask.eq(Cat(bit.replicate(8) for bit in self.w.payload.strobe)),
            self.aw.ready.eq(update.valid),
            self.w.ready.eq(update.valid),
            self.b.payload.eq(Response.OKAY),
        ]
        with m.If(~self.b.valid | self.b.ready):
            m.d.sync += self.b.valid.eq(update.valid)
        return update

    def _hold(self, m: Module, one: Csr, update: Any) -> Value:
        """Return what a read of a register gives."""
        port = getattr(self, one.name)
        if one.kind is Kind.STATUS:
            return Value.cast(port)
        if one.kind is Kind.ARGUMENT:
            with m.If(_hits(update, one.offset)):
                m.d.sync += port.eq(_merged(port, update))
            return Value.cast(port)
        held = Signal(one.bits, name=f"{one.name}_held")
        sum_or_flag = held | port if one.kind is Kind.FLAG else held + port
        m.d.sync += held.eq(Mux(self.start, 0, sum_or_flag))
        return held

    def _control(self, m: Module, update: Any, reads_control: Value) -> dict[int, Value]:
        """Hold the first four registers, as ``ap_ctrl_hs`` has them; return what reads give."""
        begun, ended = Signal(), Signal()
        enabled, raised, lets_out = Signal(2), Signal(2), Signal()
        m.d.comb += [
            self.start.eq(begun & self.idle),
            self.irq.eq(lets_out & raised.any()),
        ]
        with m.If(_hits(update, csr.CONTROL) & (update.bits & update.mask)[0]):
            m.d.sync += begun.eq(1)
        with m.Elif(self.finished):
            m.d.sync += begun.eq(0)
        with m.If(self.finished):
            m.d.sync += ended.eq(1)
        with m.Elif(reads_control):
            m.d.sync += ended.eq(0)
        for offset, held in ((csr.GLOBAL_INTERRUPT, lets_out), (csr.INTERRUPT_ENABLE, enabled)):
            with m.If(_hits(update, offset)):
                m.d.sync += held.eq(_merged(held, update))
        toggled = Mux(_hits(update, csr.INTERRUPT_STATUS), update.bits & update.mask, 0)
        m.d.sync += raised.eq((raised ^ toggled) | Mux(self.finished, enabled, 0))
        return {
            csr.CONTROL: Cat(begun, ended, self.idle & ~begun, ended),
            csr.GLOBAL_INTERRUPT: lets_out,
            csr.INTERRUPT_ENABLE: enabled,
            csr.INTERRUPT_STATUS: raised,
        }

    def _answer_reads(self, m: Module, words: dict[int, Value], reads_control: Signal) -> None:
        """Answer from the register of the address, or with what the last one had above 32 bits."""
        address = Signal(csr.ADDRESS_BITS)
        reading, wide, high = Signal(), Signal(), Signal(WORD_BITS)
        found = Signal(2 * WORD_BITS)
        m.d.comb += [
            self.ar.ready.eq(~reading & ~self.r.valid),
            self.r.payload.response.eq(Response.OKAY),
            reads_control.eq(reading & (address == csr.CONTROL)),
        ]
        with m.Switch(address):
            for offset, value in words.items():
                is_wide = len(value) > WORD_BITS
                with m.Case(offset):
                    m.d.comb += [found.eq(value), wide.eq(is_wide)]
                if is_wide:
                    with m.Case(offset + WORD_BITS // 8):
                        m.d.comb += found.eq(high)
        with m.If(self.ar.valid & self.ar.ready):
            m.d.sync += [reading.eq(1), address.eq(self.ar.payload)]
        with m.If(reading):
            m.d.sync += [
                reading.eq(0),
                self.r.valid.eq(1),
                self.r.payload.data.eq(found),
            ]
        with m.If(reading & wide):
            m.d.sync += high.eq(found[WORD_BITS:])
        with m.If(self.r.valid & self.r.ready):
            m.d.sync += self.r.valid.eq(0)


def _hits(update: Any, offset: int) -> Value:
    return update.valid & (update.address == offset)


def _merged(held: Any, update: Any) -> Value:
    """Return a register after a write."""
    return (Value.cast(held) & ~update.mask) | (update.bits & update.mask)
