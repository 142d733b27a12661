# amaranth: UnusedElaboratable=no
"""The row reductions against the golden ones, bit for bit."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hwroute import timing
from hwroute.column_format import LANES
from hwroute.functions import EXP2, RECIPROCAL, RSQRT
from hwroute.models.ops import reduction as golden
from hwroute.rtl.accumulation import RowAccumulator
from hwroute.rtl.emit import emit
from hwroute.rtl.exp2 import Exp2Negative
from hwroute.rtl.reduction import Reduction
from hwroute.rtl.softmax import NO_MAXIMUM, RowExponentials
from hwroute.sim.units import Run

LARGEST, SMALLEST = 0x7BFF, 0x0400
"""65504 and 2**-14."""


def normals(rng: np.random.Generator, tiles: int, scale: float = 1.0) -> Any:
    """Return FP16 patterns [tiles, 64] of a normal distribution with a few outliers."""
    values = rng.standard_normal((tiles, LANES)) * scale
    values *= np.where(rng.random(values.shape) < 0.02, 100, 1)
    return np.clip(values, -60000, 60000).astype(np.float16).view(np.uint16)


def corner_tiles() -> list[Any]:
    """Zeros, both zeros, subnormals, ends of the range, a mix of all, one lane, equal opposites."""
    fill = [np.full((1, LANES), value, np.uint16) for value in (0, 0x8000, 0x0001, 0x83FF)]
    fill += [np.full((1, LANES), value, np.uint16) for value in (LARGEST, 0xFBFF, SMALLEST, 0x8400)]
    mixed = np.resize(np.array([0, LARGEST, 0xFBFF, SMALLEST, 0x8001, 0x3C01], np.uint16), 64)
    single = np.zeros(LANES, np.uint16)
    single[63] = LARGEST
    opposite = np.resize(np.array([0x3C00, 0xBC00, 0x4401, 0xC401], np.uint16), 64)
    return [
        *fill,
        mixed[None],
        single[None],
        opposite[None],
        np.concatenate([mixed, single])[:64][None],
    ]


def masks(rng: np.random.Generator, tiles: int) -> Any:
    """Return masks [tiles, 64]: whole tiles masked among random ones, at least one lane valid."""
    valid = rng.random((tiles, LANES)) < rng.choice([0.02, 0.5, 1.0], (tiles, 1))
    valid[rng.random(tiles) < 0.3] = False
    valid[rng.integers(0, tiles), rng.integers(0, LANES)] = True
    return valid


@pytest.mark.cpp
@pytest.mark.parametrize("function", Reduction)
def test_corner_rows_match(rows: Any, tmp_path: Path, function: Reduction) -> None:
    """Each corner tile alone, then all of them as one row."""
    tiles = corner_tiles()
    batch = [rows.row(function=function, x=tile) for tile in [*tiles, np.concatenate(tiles)]]
    rows.check(tmp_path, rows.in_turn(batch))


@pytest.mark.cpp
def test_block_sums_accumulate_with_rounding(rows: Any, tmp_path: Path) -> None:
    """A large block first, then many whose squares are near half of its last place."""
    batch = []
    for small in (0x0C00, 0x1000, 0x13FF, 0x1401, 0x1C00):
        x = np.zeros((40, LANES), np.uint16)
        x[0], x[1:, 0] = 0x4BFF, small
        batch.append(rows.row(function=Reduction.SQUARES, x=x))
        batch.append(rows.row(function=Reduction.SQUARES, x=x[::-1].copy(), slot=3))
    rows.check(tmp_path, rows.in_turn(batch))


@pytest.mark.cpp
def test_maximum_rounds_up_beside_every_integer(rows: Any, tmp_path: Path) -> None:
    """Every FP16 pattern is the maximum of a row of one lane; masked lanes hold larger ones."""
    patterns = np.arange(1 << 16).astype(np.uint16)
    patterns = patterns[(patterns & 0x7C00) != 0x7C00]
    patterns = patterns[::7]
    batch = []
    for index, pattern in enumerate(patterns):
        x = np.full((1, LANES), LARGEST, np.uint16)
        valid = np.zeros((1, LANES), bool)
        x[0, index % LANES], valid[0, index % LANES] = pattern, True
        batch.append(rows.row(function=Reduction.MAXIMUM, x=x, valid=valid))
    rows.check(tmp_path, rows.in_turn(batch))


@pytest.mark.cpp
def test_rows_without_a_valid_lane_are_defined(rows: Any, tmp_path: Path) -> None:
    """No score counts: the maximum is below every score, and the sum is zero."""
    none = np.zeros((2, LANES), bool)
    x = normals(np.random.default_rng(0), 2)
    functions = (Reduction.MAXIMUM, Reduction.EXPONENTIALS, Reduction.MAXIMUM)
    batch = [rows.row(function=function, x=x, valid=none) for function in functions]
    run = rows.check(tmp_path, rows.in_turn(batch))
    assert run.outputs["o"]["value"].tolist() == [
        NO_MAXIMUM & 0xFFFFFFFF,
        0,
        -(1 << 16) % (1 << 32),
    ]


def test_units_and_operators_agree_on_what_is_no_maximum() -> None:
    assert golden.NO_MAXIMUM == NO_MAXIMUM


@pytest.mark.cpp
def test_probabilities_of_every_score_match(rows: Any, tmp_path: Path) -> None:
    """All finite FP16 scores beside several maxima; one above counts as that, unless masked."""
    patterns = np.arange(1 << 16).astype(np.uint16)
    patterns = patterns[(patterns & 0x7C00) != 0x7C00].reshape(-1, LANES)
    batch = []
    for maximum in (-40, -1, 0, 1, 17, 300, 65504):
        row = {"function": Reduction.EXPONENTIALS, "x": patterns, "maximum": maximum}
        below = patterns.view(np.float16).astype(np.float64) <= maximum
        batch += [rows.row(**row), rows.row(**row, valid=below)]
    rows.check(tmp_path, rows.in_turn(batch))


@pytest.mark.cpp
def test_sum_of_exponentials_ignores_the_order(rows: Any, tmp_path: Path) -> None:
    """The same scores in three orders give one sum and one maximum."""
    rng = np.random.default_rng(5)
    x = normals(rng, 12, 4.0)
    shuffles = [rng.permutation(x.ravel()).reshape(x.shape) for _ in range(3)]
    functions = (Reduction.MAXIMUM, Reduction.EXPONENTIALS)
    batch = [rows.row(function=function, x=tiles) for function in functions for tiles in shuffles]
    run = rows.check(tmp_path, rows.in_turn(batch))
    assert len(set(run.outputs["o"]["value"][:3].tolist())) == 1
    assert len(set(run.outputs["o"]["value"][3:].tolist())) == 1


@pytest.mark.cpp
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_random_rows_of_all_functions_match(rows: Any, tmp_path: Path, stall: float) -> None:
    """Rows of 1 to 9 tiles, slots and functions interleaved at random."""
    rng = np.random.default_rng(23)
    batch = []
    for _ in range(150):
        function = Reduction(int(rng.integers(0, 3)))
        tiles = int(rng.integers(1, 10))
        scale = float(rng.choice([1e-3, 0.3, 4, 30, 3000]))
        slot = int(rng.integers(0, timing.ROW_SLOTS)) if function is Reduction.SQUARES else 0
        valid = None if function is Reduction.SQUARES else masks(rng, tiles)
        batch.append(
            rows.row(function=function, x=normals(rng, tiles, scale), valid=valid, slot=slot)
        )
    rows.check(tmp_path, rows.interleaved(batch, rng), stall)


def rate_of(run: Run) -> Any:
    return np.diff(run.in_cycles["i"])


@pytest.mark.cpp
@pytest.mark.parametrize(
    ("function", "latency", "period"),
    [
        (Reduction.SQUARES, timing.SQUARES_CYCLES, timing.ROW_PERIOD_CYCLES),
        (Reduction.MAXIMUM, timing.MAXIMUM_CYCLES, 1),
        (Reduction.EXPONENTIALS, timing.EXPONENTIALS_CYCLES, 1),
    ],
)
def test_cycles_of_one_row_are_those_of_the_timing_module(
    rows: Any, tmp_path: Path, function: Reduction, latency: int, period: int
) -> None:
    """A tile alone has its latency; a long row settles at its period."""
    x = normals(np.random.default_rng(1), 60)
    short = rows.check(tmp_path / "short", rows.in_turn([rows.row(function=function, x=x[:1])]))
    assert short.out_cycles["o"][0] - short.in_cycles["i"][0] == latency
    run = rows.check(tmp_path / "long", rows.in_turn([rows.row(function=function, x=x)]))
    assert np.all(rate_of(run)[-20:] == period)
    if function is Reduction.EXPONENTIALS:
        assert np.all(run.out_cycles["p"] - run.in_cycles["i"] == timing.PROBABILITY_CYCLES)


@pytest.mark.cpp
def test_interleaved_and_short_rows_take_a_tile_a_cycle(rows: Any, tmp_path: Path) -> None:
    """Rows of squares in all slots in turn, and back-to-back rows of the others."""
    rng = np.random.default_rng(2)
    batch = [
        rows.row(function=Reduction.SQUARES, x=normals(rng, 6), slot=slot)
        for slot in range(timing.ROW_SLOTS)
    ]
    tiles = [(row, index) for index in range(6) for row in batch]
    run = rows.check(tmp_path / "squares", tiles)
    assert np.all(rate_of(run) == 1)
    for function in (Reduction.MAXIMUM, Reduction.EXPONENTIALS):
        short = [rows.row(function=function, x=normals(rng, 1 + index % 3)) for index in range(60)]
        run = rows.check(tmp_path / function.name, rows.in_turn(short))
        assert np.all(rate_of(run) == 1), function


def test_tables_fit_their_multiplier() -> None:
    """Slopes fit the 18 bits that the table unit gives them, bases 24 with the hidden bit."""
    for table in (EXP2, RECIPROCAL, RSQRT):
        assert min(table.slope) >= -(1 << 17)
        assert max(table.slope) < 1 << 17
        assert min(table.base) >= 1 << 23
        assert max(table.base) < 1 << 24


def test_full_size_is_emitted_with_one_lane_module() -> None:
    assert emit(RowExponentials(), "row").count("module hwroute_probability(") == 1


def test_wrong_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="Count must be at least 1, not 0"):
        RowAccumulator(0)
    with pytest.raises(ValueError, match="Width must be at least 24, not 23"):
        Exp2Negative(23)
