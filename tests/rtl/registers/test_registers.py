# amaranth: UnusedElaboratable=no
"""Control registers: what a host reads and writes."""

from dataclasses import replace
from random import Random
from typing import Any

import pytest

from hwroute import csr, timing
from hwroute.config import PRESETS
from hwroute.csr import Csr, Kind, csr_table
from hwroute.rtl.csr import ControlRegisters

DEMO = PRESETS["demo"]
TABLE = {one.name: one for one in csr_table(DEMO)}


def test_another_configuration_is_refused() -> None:
    config: Any = "demo"
    with pytest.raises(TypeError, match="Config must be a Config, not 'demo'"):
        ControlRegisters(config)


@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_arguments_keep_what_is_written_byte_by_byte(simulate: Any, stall: float) -> None:
    dut: Any = ControlRegisters(DEMO)
    arguments = [one for one in TABLE.values() if one.kind is Kind.ARGUMENT]
    random = Random(3)

    async def bench(host: Any) -> None:
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


def test_an_access_waits_for_the_answer_before_it(simulate: Any) -> None:
    dut: Any = ControlRegisters(DEMO)

    async def bench(host: Any) -> None:
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


def test_accesses_take_their_cycles(simulate: Any) -> None:
    async def bench(host: Any) -> None:
        await host.write(TABLE["stop"].offset, 7)
        assert host.cycles == timing.CSR_WRITE_CYCLES
        assert await host.read(TABLE["stop"].offset) == 7
        assert host.cycles == timing.CSR_READ_CYCLES

    simulate(ControlRegisters(DEMO), bench)


def test_counters_add_flags_stick_and_a_start_clears_them(simulate: Any) -> None:
    dut: Any = ControlRegisters(DEMO)

    async def bench(host: Any) -> None:
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


def test_the_high_word_is_of_the_cycle_of_the_low_one(simulate: Any, monkeypatch: Any) -> None:
    """A counter that goes on between the two reads; its steps are long to get there in time."""
    table = [replace(one, step_bits=40) if one.step_bits else one for one in TABLE.values()]
    monkeypatch.setattr(csr, "csr_table", lambda _config: table)
    dut: Any = ControlRegisters(DEMO)

    async def bench(host: Any) -> None:
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


def test_interrupts_are_enabled_raised_and_toggled(simulate: Any) -> None:
    dut: Any = ControlRegisters(DEMO)

    async def bench(host: Any) -> None:
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
