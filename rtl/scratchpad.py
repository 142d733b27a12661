"""The scratchpad: lines of 64 FP16 elements in banks, with several ports."""

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from hwroute.isa.fields import LINE_BYTES
from hwroute.memory_config import MemoryConfig
from hwroute.rtl.part import Part
from hwroute.rtl.scratchpad_bank import ScratchpadBank
from hwroute.rtl.scratchpad_layouts import LINE, ReadPort, WritePort
from hwroute.timing import SCRATCHPAD_BANK_CYCLES, SCRATCHPAD_QUEUE_LINES

READERS = ("dma", "array_x", "array_y", "npe_x", "npe_y", "npe_z", "kv_k", "kv_v")
"""Read ports of the machine, by unit and operand."""
WRITERS = ("dma", "array", "npe")
"""Write ports of the machine, by unit."""


class Scratchpad(wiring.Component):
    """Serve every port one line a cycle where no other port wants the same bank.

    Consecutive lines lie in consecutive banks, so ports that go through lines one by one collide
    once and then keep out of each other's way. A bank serves one read and one write a cycle; ports
    that wait for it take turns. Latency of a read: `hwroute.timing.SCRATCHPAD_READ_CYCLES`. A read
    gives what was written by requests accepted in cycles before its own, whatever the ports.

    Up to SCRATCHPAD_QUEUE_LINES reads of a port are under way or wait to be taken; then its
    requests wait. Which request is accepted depends on all that are valid in the cycle.

    A request for a line beyond the end sets the port's bit of ``read_errors`` or ``write_errors``
    for the next cycle; a read gives zeros, a write is dropped.

    Parameters
    ----------
    memory
        Size and banks.
    readers, writers
        Names of the ports.

    Members
    -------
    read_(each of `readers`)
        `hwroute.rtl.scratchpad_layouts.ReadPort`.
    write_(each of `writers`)
        `hwroute.rtl.scratchpad_layouts.WritePort`.
    read_errors, write_errors
        ``Out``, one bit for each port in order.
    """

    def __init__(
        self,
        memory: MemoryConfig,
        *,
        readers: Sequence[str] = READERS,
        writers: Sequence[str] = WRITERS,
    ):
        if not isinstance(memory, MemoryConfig):
            raise TypeError(f"Sizes must be a MemoryConfig, not {memory!r}")
        self.memory = memory
        self.lines = memory.scratchpad_bytes // LINE_BYTES
        self._bank_bits = (memory.scratchpad_banks - 1).bit_length()
        self.readers = tuple(readers)
        self.writers = tuple(writers)
        reads = {f"read_{name}": In(ReadPort()) for name in readers}
        writes = {f"write_{name}": In(WritePort()) for name in writers}
        errors = {"read_errors": Out(len(readers)), "write_errors": Out(len(writers))}
        super().__init__(reads | writes | errors)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        rows = -(-self.lines // self.memory.scratchpad_banks)
        bank = ScratchpadBank(rows, readers=len(self.readers), writers=len(self.writers))
        banks: list[Any] = [
            Part("hwroute_scratchpad_bank", bank) for _ in range(self.memory.scratchpad_banks)
        ]
        for number, one in enumerate(banks):
            m.submodules[f"bank_{number}"] = one
        for index, name in enumerate(self.readers):
            self._read(m, banks, index, getattr(self, f"read_{name}"))
        for index, name in enumerate(self.writers):
            self._write(m, banks, index, getattr(self, f"write_{name}"))
        return m

    def _place(self, m: Module, line: Value, name: str) -> tuple[Signal, Value, Value]:
        """Return whether there is such a line, its bank and its row."""
        inside = Signal(name=f"{name}_inside")
        m.d.comb += inside.eq(line < self.lines)
        return inside, line[: self._bank_bits], line[self._bank_bits :]

    def _choose(
        self, m: Module, banks: list[Any], wanted: Value, number: Value, name: str
    ) -> list[Signal]:
        """Return for each bank whether a port wants it."""
        chosen = []
        for bank in range(len(banks)):
            wants = Signal(name=f"{name}_wants_{bank}")
            m.d.comb += wants.eq(wanted & (number == bank))
            chosen.append(wants)
        return chosen

    def _read(self, m: Module, banks: list[Any], index: int, port: Any) -> None:
        name = f"read_{self.readers[index]}"
        m.submodules[f"{name}_queue"] = queue = SyncFIFOBuffered(
            width=LINE.size, depth=SCRATCHPAD_QUEUE_LINES
        )
        free = Signal(
            range(SCRATCHPAD_QUEUE_LINES + 1), init=SCRATCHPAD_QUEUE_LINES, name=f"{name}_free"
        )
        inside, bank, row = self._place(m, port.request.payload.line, name)
        wanted = port.request.valid & free.any()
        for one, wants in zip(
            banks, self._choose(m, banks, wanted & inside, bank, name), strict=True
        ):
            m.d.comb += [one.reads[index].eq(wants), one.read_rows[index].eq(row)]
        granted = Cat(one.read_grant[index] for one in banks).any()
        accepted = Signal(name=f"{name}_accepted")
        m.d.comb += [
            port.request.ready.eq(granted | (~inside & free.any())),
            accepted.eq(port.request.valid & port.request.ready),
        ]
        m.d.sync += [
            free.eq(free - accepted + (queue.r_rdy & queue.r_en)),
            self.read_errors[index].eq(accepted & ~inside),
        ]
        coming = Cat(accepted, inside, bank)
        for cycle in range(SCRATCHPAD_BANK_CYCLES):
            later = Signal(len(coming), name=f"{name}_coming_{cycle}")
            m.d.sync += later.eq(coming)
            coming = later
        line = Array(one.line for one in banks)[coming[2:]]
        m.d.comb += [
            queue.w_en.eq(coming[0]),
            queue.w_data.eq(Mux(coming[1], Value.cast(line), 0)),
            port.response.valid.eq(queue.r_rdy),
            Value.cast(port.response.payload).eq(queue.r_data),
            queue.r_en.eq(port.response.ready),
        ]

    def _write(self, m: Module, banks: list[Any], index: int, port: Any) -> None:
        name = f"write_{self.writers[index]}"
        request = port.request.payload
        inside, bank, row = self._place(m, request.line, name)
        chosen = self._choose(m, banks, port.request.valid & inside, bank, name)
        for one, wants in zip(banks, chosen, strict=True):
            slot = one.write_requests[index]
            m.d.comb += [
                one.writes[index].eq(wants),
                slot.row.eq(row),
                slot.data.eq(request.data),
                slot.mask.eq(request.mask),
            ]
        granted = Cat(one.write_grant[index] for one in banks).any()
        m.d.comb += port.request.ready.eq(granted | ~inside)
        m.d.sync += self.write_errors[index].eq(port.request.valid & ~inside)
