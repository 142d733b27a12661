# amaranth: UnusedElaboratable=no
"""The machine's router unit against the interpreter's, instruction by instruction."""

from collections.abc import Callable
from dataclasses import replace
from random import Random
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.sim import Simulator

from hwroute import timing
from hwroute.config import PRESETS, ArrayConfig, Config
from hwroute.isa.fields import PLANES, Register
from hwroute.isa.instruction import Instruction
from hwroute.models.interpreter.npe import Router
from hwroute.models.interpreter.state import MachineError, State
from hwroute.models.ops.router import compact
from hwroute.rtl.emit import emit
from hwroute.rtl.statistics_memory import StatisticsMemory
from hwroute.rtl.tile_router import REQUESTERS, TOKEN_EVENTS, TileRouter

DEMO = PRESETS["demo"]
TILE = DEMO.array.accumulator_rows


def small(planes: int) -> Config:
    """Return a configuration with planes of 8 rows."""
    array = ArrayConfig(columns=16, kv_vectors=2, accumulator_rows=8)
    return replace(DEMO, array=array, memory=replace(DEMO.memory, planes=planes))


class Bench:
    """A router unit and a statistics memory, beside the interpreter's router and state.

    Members: cycles, from the acceptance of an instruction to its end, one for each that ran.
    """

    def __init__(self, config: Config, *, stall: float = 0.0):
        self.config = config
        self.stall = Random(41), stall
        self.tile = config.array.accumulator_rows
        image: Any = SimpleNamespace(
            hbm=np.zeros((1, 1, 32), np.uint8), ddr=np.zeros((1, 128), np.uint8)
        )
        self.state = State(config, image, self.tile)
        self.golden = Router(self.state)
        self.unit: Any = TileRouter(config)
        self.memory: Any = StatisticsMemory(config.memory)
        self.cycles: list[int] = []
        self._events = dict.fromkeys(dict(TOKEN_EVENTS), 0)
        self.counts = dict(self._events)
        self._now = 0

    def run(self, steps: Callable[["Bench", Any], Any]) -> None:
        top = Module()
        top.submodules.unit, top.submodules.memory = self.unit, self.memory
        wiring.connect(top, self.unit.logits, self.memory.read_router)

        async def bench(context: Any) -> None:
            await steps(self, context)

        async def count(context: Any) -> None:
            names = list(self._events)
            async for _, _, *seen in context.tick().sample(*(self.unit.events[n] for n in names)):
                self._now += 1
                for name, one in zip(names, seen, strict=True):
                    self._events[name] += one

        simulator = Simulator(top)
        simulator.add_clock(1e-6)
        simulator.add_testbench(bench)
        simulator.add_testbench(count, background=True)
        simulator.run()

    async def put(self, context: Any, port: Any, payload: Any) -> int:
        """Send a payload, a number or fields; return the cycle of its transfer."""
        random, stall = self.stall
        while random.random() < stall:
            await context.tick()
        context.set(port.payload, payload)
        context.set(port.valid, 1)
        await context.tick().until(port.ready)
        context.set(port.valid, 0)
        return self._now

    async def get(self, context: Any, port: Any) -> Any:
        """Take a payload, as a constant of its shape."""
        random, stall = self.stall
        while random.random() < stall:
            await context.tick()
        context.set(port.ready, 1)
        (payload,) = await context.tick().sample(port.payload).until(port.valid)
        context.set(port.ready, 0)
        return payload

    async def set_statistics(self, context: Any, words: Any) -> None:
        """Write all of the statistics, in hardware and in the golden state."""
        self.state.statistics[:] = words
        port = self.memory.write_npe
        for start in range(0, len(words), 1024):
            part = words[start : start + 1024]
            await self.put(context, port.request, {"first": start, "pitch": 1, "values": len(part)})
            for word in part:
                await self.put(context, port.values, int(word))

    async def execute(
        self, context: Any, one: Instruction, *, rows: int, position: int = 0
    ) -> bool:
        """Run an instruction on both; compare whether it failed, what it counted, all planes."""
        self.state.registers[Register.ROWS] = rows
        self.state.registers[Register.POSITION] = position
        index = len(self.cycles) + 7
        word = one.encode()
        issued = {
            "word": [word >> 64 * part & (1 << 64) - 1 for part in range(4)],
            "index": index,
            "position": position,
            "rows": rows,
            "value": 0,
        }
        begun = await self.put(context, self.unit.issue, issued)
        done = await self.get(context, self.unit.done)
        self.cycles.append(self._now - begun)
        assert done.index == index
        written, failed = np.zeros(0, bool), False
        try:
            # As the interpreter does: an instruction whose plane is empty does nothing.
            if not one["plane"] or len(self.state.selected(one["plane"])):
                failed = one["to"] >= self.config.memory.planes
                written = getattr(self.golden, one.name)(one)["plane"]
        except MachineError:
            failed = True
        assert done.error == failed, (one, rows)
        if failed:
            return False
        if one.name == "decide":
            kind = one.choice("kind")
            self.counts[f"{kind}_tokens_executed"] += int(written.sum())
            self.counts[f"{kind}_tokens_skipped"] += int((~written).sum())
        assert self._events == self.counts
        return True

    async def check_planes(self, context: Any, name: str, rows: int) -> None:
        """Compare ``plane_any`` and the list of every plane, at one port, below `rows`."""
        context.set(self.unit.rows, rows)
        await context.tick()
        any_row = context.get(self.unit.plane_any)
        port = getattr(self.unit, f"list_{name}")
        for plane in range(self.config.memory.planes):
            expected = compact(self.state.planes[plane, :rows]) if plane else np.arange(rows)
            assert any_row >> plane & 1 == bool(len(expected)), plane
            await self.put(context, port.request, {"plane": plane, "rows": rows})
            listed: list[int] = []
            while True:
                got = await self.get(context, port.rows)
                listed += [] if got.empty else [got.row]
                if got.last:
                    break
            assert listed == expected.tolist(), plane


def random_logits(rng: np.random.Generator, words: int) -> Any:
    """Return FP32 patterns [words] of few values, so that many are equal, and neighbours."""
    pool = rng.standard_normal(6).astype(np.float32)
    pool = np.concatenate([pool, np.nextafter(pool, np.float32(9)), -pool, np.float32([0])])
    return rng.choice(pool, words).view(np.uint32)


def decide(**values: int) -> Instruction:
    return Instruction("decide", {"to": 1, "pitch": 1} | values)


@pytest.mark.parametrize(
    ("config", "stall"), [(DEMO, 0.0), (DEMO, 0.5), (small(3), 0.0)], ids=["demo", "stall", "small"]
)
def test_random_instructions_write_the_golden_planes(config: Config, stall: float) -> None:
    """Decisions of all modes, selections and tiles of every length, a few of them illegal."""

    async def steps(bench: Bench, context: Any) -> None:
        rng = np.random.default_rng(42)
        words = config.memory.statistics
        await bench.set_statistics(context, random_logits(rng, words))
        ran = 0
        for number in range(120):
            rows = int(rng.integers(0, bench.tile + 2))
            position = int(rng.integers(0, 40)) << int(rng.integers(0, 20))
            to = int(rng.integers(1, min(PLANES, config.memory.planes + 1)))
            plane = int(rng.integers(0, config.memory.planes)) * int(rng.integers(0, 2))
            one = Instruction("select", {"to": to, "plane": plane})
            if rng.integers(0, 5):
                one = decide(
                    to=to,
                    plane=plane,
                    logits=int(rng.integers(0, words - bench.tile)),
                    pitch=int(rng.integers(1, 2 * bench.tile)),
                    mode=int(rng.choice([0, 0, 0, 1, 2])),
                    execute=int(rng.integers(0, 2)),
                    tie=int(rng.integers(0, 2)),
                    first_tokens=int(rng.integers(0, 40)),
                    layer=int(rng.integers(0, 8)),
                    kind=int(rng.integers(0, 2)),
                )
            ran += await bench.execute(context, one, rows=rows, position=position)
            below = int(rng.integers(1, bench.tile + 1))
            await bench.check_planes(context, REQUESTERS[number % len(REQUESTERS)], below)
        assert ran > 60

    Bench(config, stall=stall).run(steps)


@pytest.mark.parametrize("tie", [0, 1])
@pytest.mark.parametrize("execute", [0, 1])
def test_corner_logits_follow_polarity_and_tie_rule(execute: int, tie: int) -> None:
    """Every pair of corner values, equal ones included."""
    one = np.float32(1)
    values = [np.float32(0), one, np.nextafter(one, np.float32(0)), np.float32(2.0**-126)]
    values += [-value for value in values[1:]] + [np.finfo(np.float32).max]
    pairs = np.array([[a, b] for a in values for b in values], np.float32)

    async def steps(bench: Bench, context: Any) -> None:
        words = np.zeros(DEMO.memory.statistics, np.uint32)
        words[: pairs.size] = pairs.T.ravel().view(np.uint32)
        await bench.set_statistics(context, words)
        for start in range(0, len(pairs) - TILE, TILE):
            routed = decide(logits=start, pitch=len(pairs), execute=execute, tie=tie)
            assert await bench.execute(context, routed, rows=TILE)
            await bench.check_planes(context, "dma", TILE)

    Bench(DEMO).run(steps)


def test_failures_are_reported_and_the_next_instruction_runs() -> None:
    """No rows, too many, logits of the last row beyond the end; one word less is inside."""
    end = DEMO.memory.statistics

    async def steps(bench: Bench, context: Any) -> None:
        await bench.set_statistics(context, random_logits(np.random.default_rng(43), end))
        inside = decide(logits=end - TILE - 1, pitch=1)
        beyond = decide(logits=end - TILE - 1, pitch=2)
        for one, rows, runs in (
            (inside, 0, False),
            (inside, TILE + 1, False),
            (inside, 1 << 31, False),
            (inside, TILE, True),
            (beyond, TILE, False),
            (beyond, TILE - 1, True),
            (Instruction("select", {"to": 2}), TILE + 1, False),
            (inside, TILE, True),
        ):
            assert await bench.execute(context, one, rows=rows) == runs
        await bench.check_planes(context, "kv", TILE)

    Bench(DEMO).run(steps)


def test_instructions_take_the_cycles_of_the_timing_module() -> None:
    async def steps(bench: Bench, context: Any) -> None:
        words = random_logits(np.random.default_rng(44), DEMO.memory.statistics)
        await bench.set_statistics(context, words)
        for rows in (1, 2, TILE):
            for one, compares in (
                (decide(), True),
                (decide(mode=1), False),
                (Instruction("select", {"to": 2}), False),
            ):
                assert await bench.execute(context, one, rows=rows)
                assert bench.cycles[-1] == timing.tile_router_cycles(rows, compares=compares)

    Bench(DEMO).run(steps)


@pytest.mark.parametrize("name", ["demo", "u280"])
def test_it_is_emitted(name: str) -> None:
    rows = PRESETS[name].array.accumulator_rows
    assert f"[{8 * rows - 1}:0] planes" in emit(TileRouter(PRESETS[name]), "tile_router")


def test_wrong_sizes_are_refused() -> None:
    sizes: Any = "demo"
    with pytest.raises(TypeError, match="Sizes must be a Config, not 'demo'"):
        TileRouter(sizes)
