# amaranth: UnusedElaboratable=no
"""The element-wise operations against the golden ones, bit for bit."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hwroute import timing
from hwroute.config import Rounding
from hwroute.isa.table import BY_NAME
from hwroute.rtl.emit import emit
from hwroute.rtl.npe import NPE
from hwroute.rtl.vector_layouts import VectorOperation

LARGEST, SMALLEST, ONE = 0x7BFF, 0x0400, 0x3C00
"""65504, 2**-14 and 1."""
EPSILON = 1e-5

CORNERS = np.array(
    [
        *(0, 0x8000, 0x0001, 0x83FF, SMALLEST, 0x8401, 0x07FF, ONE, 0xBC00, 0x3C01, 0xBBFF),
        *(0x1000, 0x9000, 0x1001, 0x0FFF, 0x4C00, LARGEST, 0xFBFF, 0x7BFE, 0x4BFF, 0x4C01, 0xCFFF),
    ],
    np.uint16,
)
"""Zeros, subnormals, the ends of the range, half a last place of 1 (2**-11) and of 65504 (16)."""


def grid(*parts: Any, lanes: int = 64) -> list[Any]:
    """Return every combination of the elements of `parts`, padded with zeros to whole lines."""
    columns = [column.ravel() for column in np.meshgrid(*parts, indexing="ij")]
    return [np.pad(column, (0, -len(column) % lanes)) for column in columns]


def halves(rng: np.random.Generator, count: int) -> Any:
    """Return FP16 patterns: normal values of one of four scales, and corners among them."""
    values = rng.standard_normal(count) * rng.choice([1e-4, 0.3, 5, 9000])
    patterns = np.clip(values, -65504, 65504).astype(np.float16).view(np.uint16)
    return np.where(rng.random(count) < 0.05, rng.choice(CORNERS, count), patterns)


def pairs_of(even: Any, odd: Any) -> Any:
    """Return two rows alternating."""
    return np.stack([even, odd], axis=-1).ravel()


@pytest.mark.cpp
def test_residual_corners(npe: Any, tmp_path: Path) -> None:
    """Every pair: cancellation, flushed differences, ties, saturation of both signs."""
    x, y = grid(CORNERS, CORNERS)
    run = npe.check(tmp_path, [npe.work(operation=VectorOperation.RESIDUAL, x=x, y=y)])
    assert run.outputs["o"]["saturated"].any()


@pytest.mark.cpp
@pytest.mark.parametrize("statistic", [0.0, 1e-9, 2048.0, 4096.0, 3.0e13])
def test_normalise_corners(npe: Any, tmp_path: Path, statistic: float) -> None:
    """Every x with every gain; sums of squares from nothing to 65504 in every element."""
    x, y = grid(CORNERS, CORNERS)
    row = {"x": x, "y": y, "statistic": statistic, "epsilon": EPSILON}
    npe.check(tmp_path, [npe.work(operation=VectorOperation.NORMALISE, **row)])


@pytest.mark.cpp
def test_rotate_corners(npe: Any, tmp_path: Path) -> None:
    """Every pair with the tables' corners: none, a quarter, an eighth of a turn, a scaled one."""
    turns = np.array([0, ONE, 0xBC00, 0x39A8, 0xB9A8, 0x3AD3, 0x0401], np.uint16)
    a, b, c, s = grid(CORNERS, CORNERS, turns, turns)
    row = {"x": pairs_of(a, b), "y": pairs_of(c, s)}
    run = npe.check(tmp_path, [npe.work(operation=VectorOperation.ROTATE, **row)])
    assert run.outputs["o"]["saturated"].any()


@pytest.mark.cpp
def test_swiglu_of_every_gate(npe: Any, tmp_path: Path) -> None:
    """All 63,488 finite FP16 gates, with 1 as up and with one that reaches both ends."""
    patterns = np.arange(1 << 16).astype(np.uint16)
    gates = patterns[(patterns & 0x7C00) != 0x7C00]
    batch = []
    for up in (ONE, 0x8400 | 0x4D55):
        x = pairs_of(gates, np.full_like(gates, up))
        batch.append(npe.work(operation=VectorOperation.SWIGLU, x=x))
    run = npe.check(tmp_path, batch)
    assert run.outputs["o"]["saturated"].any()


@pytest.mark.cpp
def test_swiglu_corners(npe: Any, tmp_path: Path) -> None:
    x = pairs_of(*grid(CORNERS, CORNERS))
    npe.check(tmp_path, [npe.work(operation=VectorOperation.SWIGLU, x=x)])


def random_batch(bench: Any, rng: np.random.Generator, rows: int) -> list[Any]:
    """Return rows of all operations in random order, 1 to 5 lines each."""
    batch = []
    for _ in range(rows):
        operation = VectorOperation(int(rng.integers(1, 7)))
        count = int(rng.integers(1, 6)) * bench.lanes
        row: dict[str, Any] = {"x": halves(rng, count), "y": halves(rng, count)}
        if operation is VectorOperation.NORMALISE:
            row |= {"statistic": float(2.0 ** rng.uniform(-20, 45)), "epsilon": EPSILON}
        elif operation is VectorOperation.SWIGLU:
            row |= {"offset": int(rng.integers(0, bench.lanes))}
        elif operation is VectorOperation.DIVIDE:
            heads = int(rng.integers(1, 5))
            sums = rng.standard_normal((heads, int(rng.integers(1, 2 * bench.lanes)))) * 1e6
            row["x"] = sums.astype(np.float32)
            row["statistic"] = (2.0 ** rng.uniform(5, 31, heads)).astype(np.float32)
            row["offset"] = int(rng.integers(0, bench.lanes))
        elif operation is VectorOperation.ARGMAX:
            row["x"] = rng.standard_normal((1, int(rng.integers(1, count)))).astype(np.float32)
            row["base"] = int(rng.integers(0, 100_000))
        batch.append(bench.work(operation=operation, **row))
    return batch


@pytest.mark.cpp
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_random_rows_of_all_operations(npe: Any, tmp_path: Path, stall: float) -> None:
    npe.check(tmp_path, random_batch(npe, np.random.default_rng(31), 300), stall)


@pytest.mark.cpp
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_eight_lanes_that_truncate(truncating: Any, tmp_path: Path, stall: float) -> None:
    """Corners and random rows on another width and with the other rounding."""
    x, y = grid(CORNERS, CORNERS, lanes=truncating.lanes)
    operations = (VectorOperation.RESIDUAL, VectorOperation.NORMALISE, VectorOperation.ROTATE)
    row = {"x": x, "y": y, "statistic": 300.0, "epsilon": EPSILON}
    batch = [truncating.work(operation=operation, **row) for operation in operations]
    batch.append(truncating.work(operation=VectorOperation.SWIGLU, x=pairs_of(x, y)))
    batch += random_batch(truncating, np.random.default_rng(37), 400)
    truncating.check(tmp_path, batch, stall)


LINES = 24


def row_of(bench: Any, operation: VectorOperation) -> Any:
    """Return a row of `LINES` full lines."""
    rng = np.random.default_rng(4)
    x = halves(rng, LINES * bench.lanes)
    if operation in (VectorOperation.DIVIDE, VectorOperation.ARGMAX):
        x = rng.standard_normal((1, LINES * bench.lanes // 2)).astype(np.float32)
    return bench.work(operation=operation, x=x, y=x, statistic=9.0, epsilon=EPSILON)


@pytest.mark.cpp
@pytest.mark.parametrize("operation", VectorOperation)
def test_cycles_are_those_of_the_timing_module(
    npe: Any, tmp_path: Path, operation: VectorOperation
) -> None:
    """A line enters every cycle; each output has its latency from the line that completes it."""
    run = npe.check(tmp_path, [row_of(npe, operation)] * 2)
    entered = run.in_cycles["i"]
    assert np.all(np.diff(entered) == 1)
    if operation is VectorOperation.ARGMAX:
        ends = entered[LINES - 1 :: LINES]
        assert np.all(run.out_cycles["token"] - ends == timing.ARGMAX_CYCLES)
        return
    halved = operation in (VectorOperation.SWIGLU, VectorOperation.DIVIDE)
    completing = entered[1::2] if halved else entered
    assert np.all(run.out_cycles["o"] - completing == timing.VECTOR_CYCLES)


@pytest.mark.cpp
def test_operations_follow_each_other_without_a_bubble(npe: Any, tmp_path: Path) -> None:
    order = [VectorOperation(number) for number in (1, 3, 4, 2, 6, 5, 1, 2, 4, 3)]
    run = npe.check(tmp_path, [row_of(npe, operation) for operation in order])
    assert np.all(np.diff(run.in_cycles["i"]) == 1)


def test_operations_have_the_low_bits_of_their_opcodes() -> None:
    for operation in VectorOperation:
        assert BY_NAME[operation.name.lower()].code & 7 == operation.value


def test_full_size_is_emitted_with_one_pair_module() -> None:
    text = emit(NPE(Rounding.NEAREST_EVEN), "npe")
    assert text.count("module hwroute_vector_pair(") == 1
    assert text.count("hwroute_vector_pair pair_") == 32


@pytest.mark.parametrize("lanes", [2, 24, 256])
def test_other_widths_are_refused(lanes: int) -> None:
    with pytest.raises(
        ValueError, match=rf"Lanes must be a power of two from 4 to 128, not {lanes}"
    ):
        NPE(Rounding.NEAREST_EVEN, lanes=lanes)
