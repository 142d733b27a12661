"""The host's side of the control registers."""

from collections.abc import Callable, Coroutine
from random import Random
from typing import Any

import pytest
from amaranth.sim import Simulator

from hwroute.config import PRESETS
from hwroute.csr import csr_table

TABLE = {one.name: one for one in csr_table(PRESETS["demo"])}


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


def run_bench(dut: Any, bench: Bench, *, stall: float = 0.0, beside: tuple[Any, ...] = ()) -> None:
    async def testbench(context: Any) -> None:
        await bench(Host(context, dut, stall=stall))

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    for process in beside:
        simulator.add_testbench(process, background=True)
    simulator.run()


@pytest.fixture
def simulate() -> Any:
    """Return what simulates a component with a bench that is given a `Host`."""
    return run_bench
