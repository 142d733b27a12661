# amaranth: UnusedElaboratable=no
"""Control registers: what a host reads and writes, and the controller behind them."""

from collections.abc import Callable, Coroutine
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from amaranth.sim import Simulator

from hwroute import csr, timing
from hwroute.config import PRESETS
from hwroute.csr import Csr, Error, Kind, csr_table
from hwroute.isa.fields import QUEUED
from hwroute.isa.instruction import Instruction
from hwroute.rtl.controller import Controller
from hwroute.rtl.csr import ControlRegisters

DEMO = PRESETS["demo"]
TABLE = {one.name: one for one in csr_table(DEMO)}


class Host:
    """The other side of the bus; with stalls it idles half of the time."""

    def __init__(self, context: Any, dut: Any, *, stall: float = 0.0):
        self.context = context
        self.dut = dut
        self.stall = stall
        self.random = Random(5)
        self.cycles = 0
        """Of the last access: from its last channel's acceptance to the answer."""

    async def _give(self, port: Any, value: Any) -> None:
        while self.random.random() < self.stall:
            await self.context.tick()
        self.context.set(port.payload, value)
        self.context.set(port.valid, 1)
        await self.context.tick().until(port.ready)
        self.context.set(port.valid, 0)

    async def _take(self, port: Any) -> Any:
        """Wait for an answer, which must stay until it is taken."""
        self.cycles = 1
        while not self.context.get(port.valid):
            await self.context.tick()
            self.cycles += 1
        answer = self.context.get(port.payload)
        while self.random.random() < self.stall:
            await self.context.tick()
            assert self.context.get(port.valid)
            assert self.context.get(port.payload) == answer
        self.context.set(port.ready, 1)
        await self.context.tick()
        self.context.set(port.ready, 0)
        return answer

    async def write(self, offset: int, value: int, strobe: int = 15) -> None:
        self.context.set(self.dut.aw.payload, offset)
        self.context.set(self.dut.aw.valid, 1)
        await self._give(self.dut.w, {"data": value, "strobe": strobe})
        self.context.set(self.dut.aw.valid, 0)
        assert (await self._take(self.dut.b)).value == 0

    async def read(self, offset: int) -> int:
        await self._give(self.dut.ar, offset)
        answer = await self._take(self.dut.r)
        assert answer.response.value == 0
        return int(answer.data)

    async def value(self, name: str) -> int:
        """Return a register of the table, both words of it."""
        one = TABLE[name]
        low = await self.read(one.offset)
        return low | (await self.read(one.offset + 4) << 32 if one.bits > 32 else 0)


Bench = Callable[[Host], Coroutine[Any, Any, None]]


def simulate(dut: Any, bench: Bench, *, stall: float = 0.0, beside: tuple[Any, ...] = ()) -> None:
    async def testbench(context: Any) -> None:
        await bench(Host(context, dut, stall=stall))

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    for process in beside:
        simulator.add_testbench(process, background=True)
    simulator.run()


def test_another_configuration_is_refused() -> None:
    config: Any = "demo"
    with pytest.raises(TypeError, match="Config must be a Config, not 'demo'"):
        ControlRegisters(config)


@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_arguments_keep_what_is_written_byte_by_byte(stall: float) -> None:
    dut: Any = ControlRegisters(DEMO)
    arguments = [one for one in TABLE.values() if one.kind is Kind.ARGUMENT]
    random = Random(3)

    async def bench(host: Host) -> None:
        expected = {one.name: 0 for one in arguments}
        for _ in range(60):
            one: Csr = random.choice(arguments)
            value, strobe = random.getrandbits(32), random.randrange(16)
            await host.write(one.offset, value, strobe)
            mask = sum(0xFF << 8 * byte for byte in range(4) if strobe >> byte & 1)
            merged = (expected[one.name] & ~mask) | (value & mask)
            expected[one.name] = merged & ((1 << one.bits) - 1)
            for other in arguments:
                assert host.context.get(getattr(dut, other.name)) == expected[other.name]
            assert await host.value(one.name) == expected[one.name]
        # Nobody is there, and nobody hears.
        for offset in (0x0F8, 0xFFC, arguments[0].offset + 4):
            await host.write(offset, 0xFFFFFFFF)
            assert await host.read(offset) == 0
        assert await host.value(arguments[0].name) == expected[arguments[0].name]

    simulate(dut, bench, stall=stall)


def test_an_access_waits_for_the_answer_before_it() -> None:
    dut: Any = ControlRegisters(DEMO)

    async def bench(host: Host) -> None:
        context, offset = host.context, TABLE["stop"].offset
        context.set(dut.aw.payload, offset)
        context.set(dut.ar.payload, offset)
        for port in (dut.aw, dut.w, dut.ar):
            context.set(port.valid, 1)
        for value in (1, 2):
            context.set(dut.w.payload, {"data": value, "strobe": 15})
            assert context.get(dut.w.ready) == context.get(dut.aw.ready) == (value == 1)
            await context.tick()
        for _ in range(5):
            assert context.get(dut.b.valid)
            assert not context.get(dut.aw.ready)
            assert not context.get(dut.w.ready)
            assert context.get(dut.stop) == 1
            await context.tick()
            assert context.get(dut.r.valid)
            assert context.get(dut.r.payload.data) == 1
            assert not context.get(dut.ar.ready)
        context.set(dut.b.ready, 1)
        context.set(dut.r.ready, 1)
        await context.tick()
        assert context.get(dut.stop) == 2
        assert context.get(dut.ar.ready)

    simulate(dut, bench)


def test_accesses_take_their_cycles() -> None:
    async def bench(host: Host) -> None:
        await host.write(TABLE["stop"].offset, 7)
        assert host.cycles == timing.CSR_WRITE_CYCLES
        assert await host.read(TABLE["stop"].offset) == 7
        assert host.cycles == timing.CSR_READ_CYCLES

    simulate(ControlRegisters(DEMO), bench)


def test_counters_add_flags_stick_and_a_start_clears_them() -> None:
    dut: Any = ControlRegisters(DEMO)

    async def bench(host: Host) -> None:
        context = host.context
        for step in (5, 63, 0, 1):
            context.set(dut.hbm3_bytes_read, step)
            context.set(dut.overflowed, step == 63)
            context.set(dut.error_index, 0xFFFFF)
            await context.tick()
        context.set(dut.hbm3_bytes_read, 0)
        assert await host.value("hbm3_bytes_read") == 69
        assert await host.value("hbm2_bytes_read") == 0
        assert await host.value("overflowed") == 1
        assert await host.value("error_index") == 0xFFFFF
        context.set(dut.idle, 1)
        await host.write(csr.CONTROL, 1)
        context.set(dut.idle, 0)
        assert await host.value("hbm3_bytes_read") == 0
        assert await host.value("overflowed") == 0
        assert await host.value("error_index") == 0xFFFFF

    simulate(dut, bench)


def test_the_high_word_is_of_the_cycle_of_the_low_one(monkeypatch: Any) -> None:
    """A counter that goes on between the two reads; its steps are long to get there in time."""
    table = [replace(one, step_bits=40) if one.step_bits else one for one in TABLE.values()]
    monkeypatch.setattr(csr, "csr_table", lambda _config: table)
    dut: Any = ControlRegisters(DEMO)

    async def bench(host: Host) -> None:
        async def count(step: int) -> None:
            host.context.set(dut.cycles, step)
            await host.context.tick()
            host.context.set(dut.cycles, 0)

        offset = TABLE["cycles"].offset
        await count((3 << 32) + 5)
        assert await host.read(offset) == 5
        await count((1 << 32) + 2)
        assert await host.read(TABLE["stop"].offset) == 0
        assert await host.read(offset + 4) == 3
        assert await host.value("cycles") == (4 << 32) + 7
        for _ in range(8):
            await count((1 << 40) - 1)
        wrapped = (4 << 32) + 7 + 8 * ((1 << 40) - 1)
        assert await host.value("cycles") == wrapped % (1 << csr.COUNTER_BITS)

    simulate(dut, bench)


def test_interrupts_are_enabled_raised_and_toggled() -> None:
    dut: Any = ControlRegisters(DEMO)

    async def bench(host: Host) -> None:
        context = host.context

        async def end() -> None:
            context.set(dut.finished, 1)
            await context.tick()
            context.set(dut.finished, 0)

        await end()
        assert await host.read(csr.INTERRUPT_STATUS) == 0
        for enabled in (1, 2, 3):
            await host.write(csr.INTERRUPT_ENABLE, enabled)
            assert await host.read(csr.INTERRUPT_ENABLE) == enabled
            await end()
            assert await host.read(csr.INTERRUPT_STATUS) == enabled
            assert not context.get(dut.irq)
            await host.write(csr.GLOBAL_INTERRUPT, 1, strobe=14)
            assert await host.read(csr.GLOBAL_INTERRUPT) == 0
            await host.write(csr.GLOBAL_INTERRUPT, 1)
            assert await host.read(csr.GLOBAL_INTERRUPT) == 1
            assert context.get(dut.irq)
            await host.write(csr.INTERRUPT_STATUS, enabled)
            assert not context.get(dut.irq)
            await host.write(csr.GLOBAL_INTERRUPT, 0)
        assert await host.read(csr.CONTROL) & 0b1010 == 0b1010, "done and ready until they are read"
        assert await host.read(csr.CONTROL) & 0b1010 == 0

    simulate(dut, bench)


def memory_of(dut: Any, words: list[int]) -> Any:
    """Return an instruction memory that answers in the next cycle."""

    async def process(context: Any) -> None:
        context.set(dut.requests.ready, 1)
        while True:
            asked, index = context.get(dut.requests.valid), context.get(dut.requests.payload)
            await context.tick()
            context.set(dut.words.valid, asked)
            if asked:
                context.set(dut.words.payload.as_value(), words[index])

    return process


def unit_of(dut: Any, name: str, failing: set[int]) -> Any:
    """Return a unit that works on one instruction for ten cycles."""
    issue, done = getattr(dut, f"issue_{name}"), getattr(dut, f"done_{name}")

    async def process(context: Any) -> None:
        while True:
            context.set(issue.ready, 1)
            while not context.get(issue.valid):
                await context.tick()
            index = context.get(issue.payload.index)
            await context.tick()
            context.set(issue.ready, 0)
            for _ in range(9):
                await context.tick()
            context.set(done.payload, {"error": index in failing, "index": index})
            context.set(done.valid, 1)
            await context.tick()
            context.set(done.valid, 0)

    return process


def test_a_host_runs_programs_and_reads_what_went_on() -> None:
    dut: Any = Controller(DEMO)
    load, halt = Instruction("load", {"lines": 1}), Instruction("halt", {})
    order = Instruction("kv.order", {})
    words = [one.encode() for one in (load, load, order, halt, order, halt)]
    units = tuple(unit_of(dut, unit.name.lower(), {4}) for unit in QUEUED)

    async def run(host: Host, first: int, length: int) -> int:
        """Return the error of a run from `first` on."""
        await host.write(TABLE["first"].offset, first)
        await host.write(TABLE["length"].offset, length)
        assert await host.read(csr.CONTROL) == 0b0100, "idle"
        await host.write(csr.CONTROL, 1)
        assert await host.read(csr.CONTROL) == 0b0001
        while not (control := await host.read(csr.CONTROL)) & 2:
            assert control == 1
        assert control == 0b1110
        return await host.value("error")

    async def bench(host: Host) -> None:
        assert await run(host, 0, 6) == Error.NONE
        assert await host.value("dma_instructions") == 2
        assert await host.value("dma_busy_cycles") == 2 * 11
        assert await host.value("kv_instructions") == 1
        assert await host.value("array_instructions") == 0
        assert await host.value("control_instructions") == 1
        assert 25 < await host.value("cycles") < 40
        assert await run(host, 4, 6) == Error.UNIT
        assert await host.value("error_unit") == 1 + QUEUED.index(order.unit)
        assert await host.value("error_index") == 4
        assert await host.value("dma_instructions") == 0
        assert await run(host, 2, 3) == Error.END
        assert await host.value("error_unit") == 0
        assert await host.value("error_index") == 3
        assert await run(host, 2, 6) == Error.NONE
        assert await host.value("error_index") == 0

    simulate(dut, bench, beside=(memory_of(dut, words), *units))
