"""Division of FP32 sums and the packing of heads into lines."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hwroute import timing
from hwroute.rtl.vector_layouts import VectorOperation


def heads(rng: np.random.Generator, count: int, elements: int) -> dict[str, Any]:
    """Return FP32 sums of heads and their sums of probabilities, as rows of DIVIDE."""
    total = (2.0 ** rng.uniform(14, 31, count)).astype(np.float32)
    mixed = rng.standard_normal((count, elements)) * total[:, None]
    return {"x": mixed.astype(np.float32), "statistic": total}


@pytest.mark.cpp
def test_quotients_round_flush_and_saturate(npe: Any, tmp_path: Path) -> None:
    """Sums around every place where FP16 rounds, flushes or saturates, both signs; no quotient."""
    near = np.array(
        [2.0**-14, 2.0**-14 - 2.0**-26, 1, 1 + 2.0**-11, 1 + 3 * 2.0**-11, 65504, 65520]
    )
    steps = np.concatenate([near, np.nextafter(np.float32(near), np.float32(0)), [0, 1e9, 1e-9]])
    steps = np.concatenate([steps, -steps]).astype(np.float32)
    batch = []
    for total in (1.0, 2.0**15, 2.0**31, 49152.0, 3.14159e6):
        x = (steps * np.float32(total))[None]
        batch.append(npe.work(operation=VectorOperation.DIVIDE, x=x, statistic=total))
    run = npe.check(tmp_path, batch)
    flags = run.outputs["o"]["saturated"]
    assert flags.any()
    assert len(flags) == len(batch)


@pytest.mark.cpp
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_heads_of_any_length_are_packed_from_any_lane(
    npe: Any, tmp_path: Path, stall: float
) -> None:
    """Lengths around half lines and lines, one to five heads, every offset once."""
    rng = np.random.default_rng(19)
    lengths = [1, 2, 31, 32, 33, 48, 63, 64, 65, 80, 95, 96, 97, 127, 128, 129]
    batch = []
    for offset in range(64):
        row = heads(rng, int(rng.integers(1, 6)), int(rng.choice(lengths)))
        batch.append(npe.work(operation=VectorOperation.DIVIDE, offset=offset, **row))
    npe.check(tmp_path, batch, stall)


@pytest.mark.cpp
def test_swiglu_begins_at_an_offset(npe: Any, tmp_path: Path) -> None:
    """Rows of even and odd numbers of input lines, packed from lanes of both halves."""
    rng = np.random.default_rng(29)
    batch = []
    for lines in (1, 2, 3, 4):
        for offset in (0, 1, 31, 32, 33, 63):
            x = rng.standard_normal(64 * lines).astype(np.float16).view(np.uint16)
            batch.append(npe.work(operation=VectorOperation.SWIGLU, x=x, offset=offset))
    npe.check(tmp_path, batch)


@pytest.mark.cpp
def test_a_last_line_that_spills_costs_its_cycle(npe: Any, tmp_path: Path) -> None:
    """Rows of one chunk that fill a line and begin another: two lines out for one in."""
    rng = np.random.default_rng(5)
    rows = 2 * timing.VECTOR_CYCLES
    row = heads(rng, 1, 32)
    spilling = [npe.work(operation=VectorOperation.DIVIDE, offset=48, **row)] * rows
    run = npe.check(tmp_path / "spilling", spilling)
    assert np.all(np.diff(run.in_cycles["i"])[-20:] == 1 + timing.LINE_SPILL_CYCLES)
    filling = [npe.work(operation=VectorOperation.DIVIDE, offset=32, **row)] * rows
    run = npe.check(tmp_path / "filling", filling)
    assert np.all(np.diff(run.in_cycles["i"]) == 1)
