# amaranth: UnusedElaboratable=no
"""The controller: a host runs programs over its bus."""

from typing import Any

from hwroute import csr
from hwroute.config import PRESETS
from hwroute.csr import Error, csr_table
from hwroute.isa.fields import QUEUED
from hwroute.isa.instruction import Instruction
from hwroute.rtl.controller import Controller

DEMO = PRESETS["demo"]
TABLE = {one.name: one for one in csr_table(DEMO)}


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


def test_a_host_runs_programs_and_reads_what_went_on(simulate: Any) -> None:
    dut: Any = Controller(DEMO)
    load, halt = Instruction("load", {"lines": 1}), Instruction("halt", {})
    order = Instruction("kv.order", {})
    words = [one.encode() for one in (load, load, order, halt, order, halt)]
    units = tuple(unit_of(dut, unit.name.lower(), {4}) for unit in QUEUED)

    async def run(host: Any, first: int, length: int) -> int:
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

    async def bench(host: Any) -> None:
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
