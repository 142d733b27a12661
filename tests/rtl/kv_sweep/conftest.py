"""KVSweep among models of the HBM ports and of the array, which takes what it brings."""

from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from random import Random
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Value
from amaranth.sim import Simulator
from numpy.typing import NDArray

from hwroute.config import PRESETS, Config
from hwroute.rtl.attention_layouts import source_count
from hwroute.rtl.kv_sweep import KVSweep
from hwroute.sim.replay_kv import order_payloads
from tests.rtl.kv_sweep.golden import LINE_BEATS, Attention, Brought, Golden, Map, Sweep
from tests.rtl.stream_ends import Bits

DEMO = PRESETS["demo"]
QUIET_CYCLES = 64
"""After so many in which nothing is handed over, nothing will be."""
HUNG_CYCLES = 500
"""So many are too many while something is to come."""


class Port:
    """An HBM port that answers requests after a latency."""

    def __init__(self, content: NDArray[np.uint8], paired: bool, latency: int):
        self.content, self.paired, self.latency = content, paired, latency
        self.queue: deque[tuple[int, int, int, int]] = deque()
        self.beats = 0

    def ask(self, first: int, count: int, cycle: int) -> None:
        self.beats += count
        when = cycle + self.latency
        if not 0 < count <= len(self.content) - first:
            self.queue.append((when, 0, 1, 1))
            return
        width = 2 if self.paired else 1
        for at in range(first, first + count, width):
            part = self.content[at : min(at + width, first + count)].tobytes()
            self.queue.append(
                (when, int.from_bytes(part, "little"), 0, int(at + width >= first + count))
            )


class Bench:
    """Run attentions and note everything that comes.

    strict: the array takes batch by batch, line by line from all sources, then the exponents;
    otherwise it takes whatever is there. eager: an order is given as soon as the sweeps of the one
    before are accepted. latencies: of the ports. holds: cycles before which no line of a source is
    taken.
    """

    def __init__(
        self,
        config: Config,
        layout: Map,
        hbm: NDArray[np.uint8],
        *,
        strict: bool = True,
        stall: float = 0.0,
        eager: bool = False,
        latencies: tuple[int, ...] = (5,),
        holds: Mapping[int, int] | None = None,
        seed: int = 1,
    ):
        self.config, self.layout, self.strict, self.stall = config, layout, strict, stall
        self.eager, self.holds = eager, holds or {}
        self.random = Random(seed)
        self.unit = KVSweep(config)
        self.sources = range(source_count(config))
        paired = config.kv.beat_bits == 512
        self.ports = [
            Port(part, paired, latencies[number % len(latencies)])
            for number, part in enumerate(hbm)
        ]
        self.brought = Brought()
        self.errors = 0
        self.cycles: dict[str, list[int]] = defaultdict(list)
        self.cycle = 0
        self._held: dict[int, int] = {}
        self._batch: Any = None
        self._line = 0
        self._pending: set[int] = set()
        self._behind: dict[int, int] = {}
        self._sweeps: deque[Sweep] = deque()
        self._offered: Any = None
        self._accepted = False
        self._quiet = 0
        self._bits = Bits()

    def run(self, attentions: list[Attention]) -> Brought:
        async def bench(context: Any) -> None:
            unit = self.unit
            context.set(unit.base, self.layout.base)
            context.set(unit.vector, self.layout.lines * LINE_BEATS)
            context.set(unit.exponents, self.layout.exponents)
            for attention in attentions:
                for _ in self._attend(context, attention):
                    await self._tick(context)
                    assert self._quiet < HUNG_CYCLES, "the unit hangs"
            least = max(self.holds.values(), default=0) + QUIET_CYCLES
            while self._sweeps or self._quiet < QUIET_CYCLES or self.cycle < least:
                await self._tick(context)
                assert self._quiet < HUNG_CYCLES, "the unit hangs"

        simulator = Simulator(self.unit)
        simulator.add_clock(1e-6)
        simulator.add_testbench(bench)
        simulator.run()
        self.brought.beats = [port.beats for port in self.ports]
        return self.brought

    def _attend(self, context: Any, attention: Attention) -> Iterator[None]:
        """Give an order and its sweeps, and wait until all of them have been taken."""
        unit = self.unit
        context.set(unit.clear, attention.order is None)
        yield
        context.set(unit.clear, 0)
        if attention.order is not None:
            fields = order_payloads([attention.order])
            rows = [
                {name: int(column[row]) for name, column in fields.items()}
                for row in range(len(attention.order) + 1)
            ]
            yield from self._offer(context, unit.order, rows)
            while not context.get(unit.ordered):
                yield
            assert context.get(unit.entries) == len(attention.order)
        else:
            assert context.get(unit.entries) == 0
        self._sweeps.extend(attention.sweeps)
        offers = [vars(sweep) for sweep in attention.sweeps]
        yield from self._offer(context, unit.sweep, offers)
        while self._sweeps and not self.eager:
            yield

    def _offer(self, context: Any, port: Any, payloads: list[Any]) -> Iterator[None]:
        for payload in payloads:
            while self._idles():
                yield
            context.set(port.payload, payload)
            context.set(port.valid, 1)
            self._accepted = False
            self._offered = port
            while not self._accepted:
                yield
            context.set(port.valid, 0)

    def _idles(self) -> bool:
        return self.random.random() < self.stall

    async def _tick(self, context: Any) -> None:
        unit = self.unit
        for number, port in enumerate(self.ports):
            beats = getattr(unit, f"beats_{number}")
            if not context.get(beats.valid):
                there = bool(port.queue) and port.queue[0][0] <= self.cycle and not self._idles()
                context.set(beats.valid, there)
                if there:
                    _, words, error, last = port.queue[0]
                    context.set(Value.cast(beats.payload.data), words)
                    context.set(beats.payload.error, error)
                    context.set(beats.payload.last, last)
            self._bits.set(context, getattr(unit, f"read_{number}").ready, not self._idles())
        self._choose(context)
        await context.delay(1e-9)
        taken = self._look(context)
        await context.tick()
        self.cycle += 1
        self._quiet = 0 if taken else self._quiet + 1
        for act in taken:
            act()
        self.errors += context.get(unit.error)
        self.brought.events[0] += context.get(unit.events.kv_buffer_entries)
        self.brought.events[1] += context.get(unit.events.kv_hbm_entries)

    def _choose(self, context: Any) -> None:
        """Say what the array takes in this cycle."""
        unit, strict = self.unit, self.strict
        want = not strict or (self._batch is None)
        self._bits.set(context, unit.batches.ready, want and not self._idles())
        for source in self.sources:
            want = not strict or (self._batch is not None and source in self._pending)
            want &= self.cycle >= self.holds.get(source, 0)
            self._bits.set(
                context, getattr(unit, f"lines_{source}").ready, want and not self._idles()
            )
            want = not strict or (not self._pending and bool(self._behind.get(source)))
            self._bits.set(
                context, getattr(unit, f"exponents_{source}").ready, want and not self._idles()
            )

    def _look(self, context: Any) -> list[Callable[[], Any]]:
        """Return what to do about the payloads that are handed over in this cycle."""
        unit = self.unit
        acts: list[Callable[[], Any]] = []

        def fires(port: Any, payload: Any) -> bool:
            valid, ready = context.get(port.valid), context.get(port.ready)
            key = id(port)
            if key in self._held:
                assert valid, "a payload that waits stays"
                assert self._held[key] == payload, "a payload that waits is held"
            self._held.pop(key, None)
            if valid and not ready:
                self._held[key] = payload
            return bool(valid and ready)

        if self._offered is not None and context.get(self._offered.valid & self._offered.ready):
            acts.append(partial(setattr, self, "_accepted", True))
            if self._offered is unit.sweep:
                self.cycles["sweep"].append(self.cycle)
        for number, port in enumerate(self.ports):
            read, beats = getattr(unit, f"read_{number}"), getattr(unit, f"beats_{number}")
            if fires(read, context.get(Value.cast(read.payload))):
                self.cycles[f"read_{number}"].append(self.cycle)
                first, count = context.get(read.payload.first), context.get(read.payload.count)
                acts.append(partial(port.ask, first, count, self.cycle + 1))
            if context.get(beats.valid):
                assert context.get(beats.ready), "what was asked for is taken at once"
                self.cycles[f"beats_{number}"].append(self.cycle)
                acts += [port.queue.popleft, partial(context.set, beats.valid, 0)]
        batch = unit.batches
        if fires(batch, context.get(Value.cast(batch.payload))):
            acts.append(partial(self._take_batch, context.get(batch.payload)))
        for source in self.sources:
            lines = getattr(unit, f"lines_{source}")
            payload = context.get(Value.cast(lines.payload))
            if fires(lines, payload):
                self.cycles[f"lines_{source}"].append(self.cycle)
                acts.append(partial(self._take_line, source, payload))
            exponents = getattr(unit, f"exponents_{source}")
            payload = context.get(exponents.payload)
            if fires(exponents, payload):
                self.cycles[f"exponents_{source}"].append(self.cycle)
                acts.append(partial(self._take_exponent, source, payload))
        return acts

    def _take_batch(self, batch: Any) -> None:
        sources = {
            source: (int(batch.sources[source].index), int(batch.sources[source].token))
            for source in self.sources
            if batch.sources[source].valid
        }
        assert batch.count == len(sources)
        self.brought.batches.append((sources, bool(batch.last)))
        self._batch, self._line = batch, 0
        self._pending = set(sources)
        sweep = self._sweeps[0]
        self._behind = {} if sweep.value else dict.fromkeys(sources, sweep.lines)
        if not self.strict:
            if batch.last:
                self._sweeps.popleft()
        else:
            self._next()

    def _take_line(self, source: int, line: int) -> None:
        self.brought.lines[source].append(line)
        if self.strict:
            self._pending.discard(source)
            if not self._pending:
                self._line += 1
                if self._line < self._sweeps[0].lines:
                    batch = self._batch
                    self._pending = {n for n in self.sources if batch.sources[n].valid}
            self._next()

    def _take_exponent(self, source: int, exponent: int) -> None:
        self.brought.exponents[source].append(exponent)
        if self.strict:
            self._behind[source] -= 1
            self._next()

    def _next(self) -> None:
        """Take the next batch when this one's lines and exponents are through."""
        if not self._pending and not any(self._behind.values()):
            if self._batch.last:
                self._sweeps.popleft()
            self._batch = None


def config_of(**kv: int) -> Config:
    """Return the demo configuration with a small buffer, and other sizes of the KV memory."""
    small = {"buffer_tokens": 16, "max_tokens": 64, "max_layers": 4} | kv
    return replace(DEMO, kv=replace(DEMO.kv, **small))


def content(config: Config, layout: Map, seed: int) -> NDArray[np.uint8]:
    """Return random bytes [ports, beats, 32] for all slots of every port."""
    beats = layout.base + config.kv.port_slots * layout.slot_beats
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (config.kv.hbm_ports, beats, 32), dtype=np.uint8)


def compare(config: Config, layout: Map, attentions: list[Attention], **options: Any) -> Bench:
    """Run attentions and hold everything that comes against the golden."""
    hbm = content(config, layout, 3)
    golden, bench = Golden(config, layout, hbm), Bench(config, layout, hbm, **options)
    for attention in attentions:
        golden.attend(attention)
    got, expected = bench.run(attentions), golden.brought
    assert got.batches == expected.batches
    assert got.lines == expected.lines
    assert got.exponents == expected.exponents
    assert got.beats == expected.beats
    assert got.events == expected.events
    assert not bench.errors
    assert not any(port.queue for port in bench.ports)
    return bench


@pytest.fixture
def kv_sweep() -> SimpleNamespace:
    """Return what tests of sweeps are made of."""
    return SimpleNamespace(
        Attention=Attention,
        Bench=Bench,
        Golden=Golden,
        Map=Map,
        Sweep=Sweep,
        compare=compare,
        config_of=config_of,
        content=content,
    )
