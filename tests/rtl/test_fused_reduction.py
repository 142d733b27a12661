"""The fused reduction against the golden sum of squares and dot products, bit for bit."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hwroute import timing
from hwroute.column_format import LANES
from hwroute.models.ops import reduction as golden
from hwroute.models.ops import router
from hwroute.paths import build_dir
from hwroute.rtl.emit import emit
from hwroute.rtl.fused_reduction import FusedReduction
from hwroute.sim.units import Run, UnitSimulation

LARGEST, SMALLEST, SUBNORMAL = 0x7BFF, 0x0400, 0x03FF
SIGN = 0x8000

Batch = list[tuple[Any, Any]]
"""Rows x [n] with their router's weights [2, n], FP16 patterns."""


@pytest.fixture(scope="module")
def simulation() -> UnitSimulation:
    return UnitSimulation(FusedReduction(), folder=build_dir())


def tiles_of(batch: Batch, *, in_turn: bool) -> list[tuple[int, int]]:
    """Return (row, tile) in the order to feed: row by row, or groups of rows tile by tile."""
    size = 1 if in_turn else timing.ROW_SLOTS
    tiles = []
    for start in range(0, len(batch), size):
        group = range(start, min(start + size, len(batch)))
        longest = max(len(batch[row][0]) for row in group) // LANES
        tiles += [(r, t) for t in range(longest) for r in group if t < len(batch[r][0]) // LANES]
    return tiles


def check(
    simulation: UnitSimulation,
    folder: Path,
    batch: Batch,
    *,
    stall: float = 0.0,
    in_turn: bool = False,
) -> Run:
    """Run rows in slots in turn and compare squares, logits and the decisions made of them."""
    tiles = tiles_of(batch, in_turn=in_turn)
    last = [(tile + 1) * LANES == len(batch[row][0]) for row, tile in tiles]
    cut = [slice(tile * LANES, (tile + 1) * LANES) for _, tile in tiles]
    fields = {
        "slot": np.array([row % timing.ROW_SLOTS for row, _ in tiles]),
        "first": np.array([tile == 0 for _, tile in tiles]).astype(np.int64),
        "last": np.array(last).astype(np.int64),
        "x": np.array([batch[row][0][part] for (row, _), part in zip(tiles, cut, strict=True)]),
        "weights": np.array(
            [batch[row][1][:, part] for (row, _), part in zip(tiles, cut, strict=True)]
        ),
    }
    run = simulation.run({"i": fields}, {"o": len(batch)}, folder=folder, stall=stall, seed=29)
    order = [row for (row, _), ends in zip(tiles, last, strict=True) if ends]
    assert run.outputs["o"]["slot"].tolist() == [row % timing.ROW_SLOTS for row in order]
    squares = np.concatenate([golden.sum_of_squares(batch[row][0][None]) for row in order])
    logits = np.concatenate([golden.dot_products(batch[r][0][None], batch[r][1]) for r in order])
    assert np.array_equal(run.outputs["o"]["squares"], bits_of(squares))
    assert np.array_equal(run.outputs["o"]["logits"], bits_of(logits))
    got = run.outputs["o"]["logits"].astype(np.uint32).view(np.float32)
    for execute in (0, 1):
        for tie_executes in (False, True):
            rule = {"execute": execute, "tie_executes": tie_executes}
            assert np.array_equal(router.decide(got, **rule), router.decide(logits, **rule))
    return run


def bits_of(values: Any) -> Any:
    return values.view(np.uint32).astype(np.int64)


def constant(length: int, *patterns: int) -> Any:
    return np.resize(np.array(patterns, np.uint16), length)


def normals(rng: np.random.Generator, shape: tuple[int, ...], scale: float) -> Any:
    values = rng.standard_normal(shape) * scale * np.where(rng.random(shape) < 0.02, 100, 1)
    return np.clip(values, -60000, 60000).astype(np.float16).view(np.uint16)


@pytest.mark.cpp
def test_corner_rows_match(simulation: UnitSimulation, tmp_path: Path) -> None:
    """Every pair of corner blocks as x and weights, alone and after a block of ordinary size."""
    blocks = [
        constant(LANES, 0, SIGN),
        constant(LANES, SUBNORMAL, SIGN | SUBNORMAL),
        constant(LANES, LARGEST),
        constant(LANES, LARGEST, SIGN | LARGEST),
        constant(LANES, SMALLEST),
        constant(LANES, LARGEST, SMALLEST, 0, SUBNORMAL, 0x3C01),
        constant(LANES, *[0] * 63, SIGN | 0x3C00),
    ]
    ordinary = constant(LANES, 0x3C00, 0x4123)
    batch = []
    for x in blocks:
        for w in blocks:
            weights = np.stack([w, w ^ SIGN])
            batch.append((x, weights))
            more = np.stack([ordinary, ordinary])
            row = np.concatenate([ordinary, x])
            batch.append((row, np.concatenate([more, weights], axis=1)))
    check(simulation, tmp_path, batch)


@pytest.mark.cpp
def test_sums_that_cancel_are_exact(simulation: UnitSimulation, tmp_path: Path) -> None:
    """Blocks that cancel inside, and blocks that cancel the blocks before them, to +0."""
    rng = np.random.default_rng(1)
    x = normals(rng, (LANES,), 10.0)
    w = normals(rng, (2, LANES), 0.1)
    inside = x.copy()
    inside[LANES // 2 :] = x[: LANES // 2]
    opposite = w.copy()
    opposite[:, LANES // 2 :] = w[:, : LANES // 2] ^ SIGN
    batch = [(inside, opposite), (np.tile(x, 2), np.concatenate([w, w ^ SIGN], axis=1))]
    run = check(simulation, tmp_path, batch)
    assert not run.outputs["o"]["logits"].any()


@pytest.mark.cpp
@pytest.mark.parametrize("in_turn", [False, True])
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_random_rows_match(
    simulation: UnitSimulation, tmp_path: Path, stall: float, in_turn: bool
) -> None:
    """Rows of 1 to 12 tiles with outliers; one router in four has two equal outputs."""
    rng = np.random.default_rng(31)
    batch = []
    for index in range(60):
        length = int(rng.integers(1, 13)) * LANES
        weights = normals(rng, (2, length), 0.05)
        if index % 4 == 0:
            weights[1] = weights[0]
        x = normals(rng, (length,), float(rng.choice([1e-3, 1, 50, 5000])))
        batch.append((x, weights))
    check(simulation, tmp_path, batch, stall=stall, in_turn=in_turn)


@pytest.mark.cpp
def test_cycles_are_those_of_the_timing_module(simulation: UnitSimulation, tmp_path: Path) -> None:
    """One row alone has a period, as many rows as slots have none."""
    rng = np.random.default_rng(3)
    batch = [
        (normals(rng, (20 * LANES,), 1.0), normals(rng, (2, 20 * LANES), 1.0))
        for _ in range(timing.ROW_SLOTS)
    ]
    short = [(x[:LANES], w[:, :LANES]) for x, w in batch]
    run = check(simulation, tmp_path / "short", short, in_turn=True)
    assert np.all(run.out_cycles["o"] - run.in_cycles["i"] == timing.FUSED_CYCLES)
    run = check(simulation, tmp_path / "alone", batch[:1])
    assert np.all(np.diff(run.in_cycles["i"])[-4:] == timing.ROW_PERIOD_CYCLES)
    run = check(simulation, tmp_path / "slots", batch)
    assert np.all(np.diff(run.in_cycles["i"]) == 1)
    assert run.out_cycles["o"][-1] - run.in_cycles["i"][-1] == timing.FUSED_CYCLES


def test_repeated_units_are_emitted_once() -> None:
    text = emit(FusedReduction(), "fused")
    for part in ("hwroute_block_dot", "hwroute_tile_aligner"):
        assert text.count(f"module {part}(") == 1
        assert text.count(f"  {part} ") == 3
