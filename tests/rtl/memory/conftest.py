"""What the benches of the memory side share: streams in Amaranth's simulator."""

from collections import deque
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import pytest
from amaranth.hdl import ClockDomain, Module, Value
from amaranth.sim import Simulator

from hwroute.sim.axi_model import AxiMemory


async def wait(context: Any, cycles: int) -> None:
    """Wait, through resets too."""
    for _ in range(cycles):
        await context.tick()


class Bench:
    """A simulation of one unit, with streams that are fed and drained under random stalls.

    domains: period and phase of each clock, in ns. stall: chance that a source idles and that a
    sink is not ready, in a cycle. forget: the input after which sources stop and sinks forget what
    they have; by default the reset of ``sync``.
    """

    def __init__(
        self,
        unit: Any,
        *,
        domains: dict[str, tuple[float, float]] | None = None,
        stall: float = 0.0,
        seed: int = 1,
        forget: Any = None,
    ):
        clocks = domains or {"sync": (2, 1)}
        top = Module()
        top.submodules.unit = unit
        self.domains = {name: ClockDomain(name) for name in clocks}
        top.domains += list(self.domains.values())
        self.simulator = Simulator(top)
        for name, (period, phase) in clocks.items():
            self.simulator.add_clock(period * 1e-9, phase=phase * 1e-9, domain=name)
        self.stall = stall
        self.forget = self.domains["sync"].rst if forget is None else forget
        self._seeds = Random(seed)
        self._waiting: list[Callable[[], bool]] = []
        self._forgot = False

    def serve(self, *memories: AxiMemory, reads: bool = True, writes: bool = True) -> None:
        """Let memories serve their ports."""
        for memory in memories:
            if reads:
                self.simulator.add_testbench(memory.serve_reads, background=True)
            if writes:
                self.simulator.add_testbench(memory.serve_writes, background=True)

    def feed(self, port: Any, payloads: Sequence[int], *, again: bool = False) -> list[int]:
        """Send payloads, as integers; return the list of the cycles of their transfers.

        again: only after the unit was told to forget.
        """
        random = Random(self._seeds.random())
        cycles: list[int] = []

        async def source(context: Any) -> None:
            cycle = 0

            async def tick() -> tuple[bool, bool]:
                nonlocal cycle
                cycle += 1
                _, _, forget, ready = await context.tick().sample(self.forget, port.ready)
                return bool(forget), bool(ready)

            while again and not self._forgot:
                await tick()
            for payload in payloads:
                while random.random() < self.stall:
                    await tick()
                context.set(Value.cast(port.payload), payload)
                context.set(port.valid, 1)
                forget = ready = False
                while not ready and not forget:
                    forget, ready = await tick()
                context.set(port.valid, 0)
                if forget and not again:
                    return
                cycles.append(cycle)

        self.simulator.add_testbench(source, background=True)
        return cycles

    def drain(
        self, port: Any, count: int, *, stall: float | None = None, shy: bool = False
    ) -> tuple[list[int], list[int]]:
        """Take `count` payloads; return the lists of payloads and of their cycles.

        Payloads beyond `count` are in the lists too; one that changes while it waits is an error.
        shy: be ready only while there is a payload.
        """
        random = Random(self._seeds.random())
        chance = self.stall if stall is None else stall
        payloads: list[int] = []
        cycles: list[int] = []

        async def sink(context: Any) -> None:
            cycle, held = 0, None
            while True:
                ready = random.random() >= chance and (not shy or bool(context.get(port.valid)))
                context.set(port.ready, ready)
                _, _, forget, valid, payload = await context.tick().sample(
                    self.forget, port.valid, Value.cast(port.payload)
                )
                cycle += 1
                if forget:
                    payloads.clear()
                    cycles.clear()
                    held = None
                    continue
                if held is not None:
                    assert valid, "valid withdrawn before ready"
                    assert payload == held, "payload changed before ready"
                held = payload if valid and not ready else None
                if valid and ready:
                    payloads.append(payload)
                    cycles.append(cycle)

        self.simulator.add_testbench(sink, background=True)
        self._waiting.append(lambda: len(payloads) >= count)
        return payloads, cycles

    def respond(
        self,
        request: Any,
        response: Any,
        answer: Callable[[int], Sequence[int]],
        *,
        latency: int,
        room: int = 8,
    ) -> None:
        """Answer every payload of one stream on another, `latency` cycles later, in order.

        room: answers that may wait; then requests wait.
        """
        random = Random(self._seeds.random())
        waiting: deque[tuple[int, int]] = deque()

        async def responder(context: Any) -> None:
            cycle, offered = 0, False
            while True:
                ready = random.random() >= self.stall and len(waiting) < room
                context.set(request.ready, ready)
                due = bool(waiting) and waiting[0][0] <= cycle
                if due and not offered and random.random() >= self.stall:
                    offered = True
                    context.set(Value.cast(response.payload), waiting[0][1])
                context.set(response.valid, offered)
                _, _, forget, valid, asked, taken = await context.tick().sample(
                    self.forget, request.valid, Value.cast(request.payload), response.ready
                )
                cycle += 1
                if forget:
                    waiting.clear()
                    offered = False
                    continue
                if offered and taken:
                    waiting.popleft()
                    offered = False
                if valid and ready:
                    waiting.extend((cycle + latency - 1, one) for one in answer(asked))

        self.simulator.add_testbench(responder, background=True)

    def tell_to_forget(self, after: int, *others: Any, length: int = 4) -> None:
        """Set `forget` (and `others`) for `length` cycles after some cycles, once."""

        async def reset(context: Any) -> None:
            await wait(context, after)
            for signal in (self.forget, *others):
                context.set(signal, 1)
            await wait(context, length)
            self._forgot = True
            for signal in (self.forget, *others):
                context.set(signal, 0)

        self._waiting.append(lambda: self._forgot)
        self.simulator.add_testbench(reset, background=True)

    def run(self, *, at_least: int = 0, max_cycles: int = 20_000, drain: int = 40) -> int:
        """Run until every sink has what it waits for; return the cycles that took."""
        end = 0

        async def watch(context: Any) -> None:
            nonlocal end
            while end < at_least or not all(done() for done in self._waiting):
                await context.tick()
                end += 1
                assert end < max_cycles, "the unit hangs"
            await wait(context, drain)

        self.simulator.add_testbench(watch)
        self.simulator.run()
        return end


@pytest.fixture(scope="session")
def bench() -> type[Bench]:
    return Bench


@pytest.fixture(scope="session")
def packed() -> Callable[..., int]:
    """Return a payload of a layout as an integer."""

    def pack(layout: Any, **values: int) -> int:
        number = 0
        for name, value in values.items():
            field = layout[name]
            assert 0 <= value < 1 << field.width, name
            number |= value << field.offset
        return number

    return pack
