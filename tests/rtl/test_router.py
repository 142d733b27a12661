# amaranth: UnusedElaboratable=no
"""The router unit against the golden decisions and bitmasks."""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from hwroute import timing
from hwroute.config import PRESETS, Config
from hwroute.errors import HwrouteError
from hwroute.models.ops import router as golden
from hwroute.paths import build_dir
from hwroute.rtl.emit import emit
from hwroute.rtl.router import WORD_BITS, Decision, RouterUnit
from hwroute.sim.units import Run, UnitSimulation


@dataclass(frozen=True, kw_only=True)
class Tile:
    """One command and its logits [count, 2] float32."""

    layer: int = 0
    sublayer: int = 0
    base: int = 0
    logits: Any
    decision: Decision = Decision.ROUTE
    execute: int = 0
    tie_executes: bool = True
    forced: int = 0

    @property
    def count(self) -> int:
        return len(self.logits)

    def mask(self) -> Any:
        """Return which of its tokens execute [count] bool."""
        if self.decision is not Decision.ROUTE:
            return np.full(self.count, self.decision is not Decision.SKIP)
        chosen = golden.decide(self.logits, execute=self.execute, tie_executes=self.tie_executes)
        return chosen | (self.base + np.arange(self.count) < self.forced)


class RouterBench(wiring.Component):
    """A router unit whose queries wait for a number of summaries, given as a setting."""

    def __init__(self, config: Config):
        self.unit = RouterUnit(config.kv)
        super().__init__({**self.unit.signature.members, "summaries_first": In(16)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.unit = unit = self.unit
        summaries = Signal(16)
        for name in ("commands", "logits", "tokens", "summary", "bits"):
            wiring.connect(m, wiring.flipped(getattr(self, name)), getattr(unit, name))
        with m.If(self.summary.valid & self.summary.ready):
            m.d.sync += summaries.eq(summaries + 1)
        is_open = summaries == self.summaries_first
        m.d.comb += [
            unit.query.payload.eq(self.query.payload),
            unit.query.valid.eq(self.query.valid & is_open),
            self.query.ready.eq(unit.query.ready & is_open),
        ]
        return m


@pytest.fixture(scope="module", params=["demo", "mid"])
def bench(request: Any) -> tuple[Config, UnitSimulation]:
    config = PRESETS[request.param]
    return config, UnitSimulation(RouterBench(config), folder=build_dir())


def commands_of(tiles: list[Tile]) -> dict[str, Any]:
    names = ("layer", "sublayer", "base", "count", "execute", "tie_executes", "forced")
    fields = {name: np.array([getattr(tile, name) for tile in tiles], np.int64) for name in names}
    return fields | {"decision": np.array([tile.decision.value for tile in tiles])}


def logits_of(tiles: list[Tile]) -> dict[str, Any]:
    routed = [tile for tile in tiles if tile.decision in (Decision.ROUTE, Decision.FORCE)]
    rows = [np.zeros((0, 2), np.float32), *(tile.logits for tile in routed)]
    bits = np.concatenate(rows).astype(np.float32).view(np.uint32).reshape(-1, 2)
    none = np.zeros(0, np.int64)
    return {
        "token": np.concatenate([none, *(t.base + np.arange(t.count) for t in routed)]),
        "logit": np.where(bits == 0x80000000, 0, bits).astype(np.int64),
        "last": np.concatenate([none, *(np.arange(t.count) == t.count - 1 for t in routed)]),
    }


def planes_of(config: Config, tiles: list[Tile]) -> Any:
    """Return all bits [layers, 2, max_tokens] after the tiles."""
    planes = np.zeros((config.kv.max_layers, 2, config.kv.max_tokens), bool)
    for tile in tiles:
        planes[tile.layer, tile.sublayer, tile.base : tile.base + tile.count] = tile.mask()
    return planes


def check(bench: Any, folder: Path, tiles: list[Tile], stall: float = 0.0) -> Run:
    """Run tiles, then compare lists, summaries and every word of every plane with golden ones."""
    config, simulation = bench
    planes = planes_of(config, tiles)
    layer, sublayer, word = (
        part.ravel() for part in np.indices((*planes.shape[:2], planes.shape[2] // WORD_BITS))
    )
    tokens = np.concatenate([tile.base + golden.compact(tile.mask()) for tile in tiles])
    run = simulation.run(
        {
            "commands": commands_of(tiles),
            "logits": logits_of(tiles),
            "query": {"layer": layer, "sublayer": sublayer, "word": word},
        },
        {"tokens": len(tokens), "summary": len(tiles), "bits": len(word)},
        folder=folder,
        settings={"summaries_first": len(tiles)},
        stall=stall,
        seed=3,
    )
    assert np.array_equal(run.outputs["tokens"], tokens)
    summary, executed = run.outputs["summary"], np.array([tile.mask().sum() for tile in tiles])
    assert np.array_equal(summary["executed"], executed)
    assert np.array_equal(summary["skipped"], [tile.count for tile in tiles] - executed)
    assert np.array_equal(summary["empty"], executed == 0)
    words = np.concatenate([golden.pack_mask(plane) for pair in planes for plane in pair])
    assert np.array_equal(run.outputs["bits"].astype(np.uint64), words)
    return run


def random_logits(rng: np.random.Generator, count: int) -> Any:
    """Return FP32 [count, 2], one pair in four tied, some apart by the last place only."""
    logits = rng.standard_normal((count, 2)).astype(np.float32)
    kind = rng.integers(0, 4, count)
    logits[kind == 0, 1] = logits[kind == 0, 0]
    near = np.nextafter(logits[:, 0], np.float32(rng.choice([-9, 9])), dtype=np.float32)
    logits[kind == 1, 1] = near[kind == 1]
    return logits


@pytest.mark.cpp
@pytest.mark.parametrize("tie_executes", [False, True])
@pytest.mark.parametrize("execute", [0, 1])
def test_corner_logits_follow_polarity_and_tie_rule(
    bench: Any, tmp_path: Path, execute: int, tie_executes: bool
) -> None:
    """Every pair of corner values, equal ones included."""
    one = np.float32(1)
    values = [0, one, np.nextafter(one, 0, dtype=np.float32), 2.0**-126, 3e38, 1e-20]
    values += [-value for value in values[1:]]
    logits = np.array([[a, b] for a in values for b in values], np.float32)
    tile = Tile(logits=logits, execute=execute, tie_executes=tie_executes)
    check(bench, tmp_path, [tile])


@pytest.mark.cpp
def test_none_all_and_no_tokens_give_their_summaries(bench: Any, tmp_path: Path) -> None:
    """All skipped, all executed, an empty command, and the decisions that take no logits."""
    skip = np.tile(np.array([0, 1], np.float32), (70, 1))
    tiles = [
        Tile(logits=skip),
        Tile(logits=skip, execute=1, layer=1),
        Tile(logits=skip[:0], layer=1),
        Tile(logits=skip, decision=Decision.FORCE, layer=2, sublayer=1),
        Tile(logits=skip, decision=Decision.EXECUTE, layer=3),
        Tile(logits=skip[:33], decision=Decision.SKIP, layer=3, base=20),
        Tile(logits=skip, forced=5, layer=4),
        Tile(logits=skip[:0], decision=Decision.SKIP),
    ]
    check(bench, tmp_path, tiles)


@pytest.mark.cpp
def test_tiles_keep_the_other_bits_of_their_words(bench: Any, tmp_path: Path) -> None:
    """Tiles that begin and end inside, at and across words, each over a plane of ones."""
    capacity, rng = bench[0].kv.max_tokens, np.random.default_rng(7)
    ranges = [(0, 64), (63, 1), (63, 2), (64, 64), (1, 62), (130, 1), (10, 150)]
    ranges += [(capacity - 1, 1), (capacity - 65, 65), (0, capacity)]
    tiles = []
    for index, (base, count) in enumerate(ranges):
        plane = {"layer": index % 5, "sublayer": index % 2}
        tiles.append(Tile(logits=np.zeros((capacity, 2)), decision=Decision.EXECUTE, **plane))
        tiles.append(Tile(logits=random_logits(rng, count), base=base, **plane))
    check(bench, tmp_path, tiles)


@pytest.mark.cpp
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_random_commands_match(bench: Any, tmp_path: Path, stall: float) -> None:
    config, rng = bench[0], np.random.default_rng(11)
    tiles = []
    for _ in range(120):
        base = int(rng.integers(0, config.kv.max_tokens))
        room = min(config.kv.max_tokens - base, 100)
        count = int(rng.integers(0, room + 1)) if rng.integers(0, 2) else 1
        fields = {
            "layer": int(rng.integers(0, config.kv.max_layers)),
            "sublayer": int(rng.integers(0, 2)),
            "decision": Decision(int(rng.choice([0, 0, 0, 1, 2, 3]))),
            "execute": int(rng.integers(0, 2)),
            "tie_executes": bool(rng.integers(0, 2)),
            "forced": int(rng.integers(0, config.kv.max_tokens)) * int(rng.integers(0, 2)),
        }
        tiles.append(Tile(base=base, logits=random_logits(rng, count), **fields))
    check(bench, tmp_path, tiles, stall)


@pytest.mark.cpp
def test_cycles_are_those_of_the_timing_module(bench: Any, tmp_path: Path) -> None:
    """One token a cycle; commands follow each other as `router_cycles` says."""
    sizes = (100, 1, 64, 0, 2)
    ones = np.tile(np.array([1, 0], np.float32), (100, 1))
    run = check(bench, tmp_path, [Tile(logits=ones[:size]) for size in sizes])
    took = run.out_cycles["summary"] - run.in_cycles["commands"]
    assert took.tolist() == [timing.router_cycles(size) for size in sizes]
    assert np.all(run.in_cycles["commands"][1:] == run.out_cycles["summary"][:-1] + 1)
    assert np.all(np.diff(run.in_cycles["logits"][:100]) == 1)
    waited = run.out_cycles["tokens"] - run.in_cycles["logits"]
    assert np.all(waited == timing.ROUTER_TOKEN_CYCLES)
    assert run.in_cycles["logits"][0] - run.in_cycles["commands"][0] == timing.ROUTER_START_CYCLES
    answered = run.out_cycles["bits"] - run.in_cycles["query"]
    assert np.all(answered == timing.ROUTER_QUERY_CYCLES)
    assert np.all(np.diff(run.in_cycles["query"]) == 1)


@pytest.mark.cpp
def test_logits_out_of_step_stop_the_simulation(bench: Any, tmp_path: Path) -> None:
    """A producer that is one token ahead is caught by the unit itself."""
    tile = Tile(logits=np.zeros((3, 2)))
    inputs = {"commands": commands_of([tile]), "logits": logits_of([replace(tile, base=1)])}
    inputs["query"] = dict.fromkeys(("layer", "sublayer", "word"), np.zeros(0, np.int64))
    with pytest.raises(HwrouteError, match=r"[Aa]ssert"):
        bench[1].run(inputs, {"tokens": 3, "summary": 1, "bits": 0}, folder=tmp_path)


def test_full_size_is_emitted() -> None:
    """At u280 a plane's memory is 4096 words of 64 bits."""
    text = emit(RouterUnit(PRESETS["u280"].kv), "router")
    assert re.search(r"\[63:0\] \S+ \[4095:0\]", text)


def test_wrong_configuration_is_refused() -> None:
    config: Any = "demo"
    with pytest.raises(TypeError, match="Sizes must be a KVConfig, not 'demo'"):
        RouterUnit(config)
