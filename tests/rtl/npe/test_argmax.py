"""The largest logit, over lines and parts."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hwroute.rtl.vector_layouts import VectorOperation


def logits(bench: Any, values: Any, **fields: Any) -> Any:
    """Return a row of logits."""
    x = np.asarray(values, np.float32)[None]
    return bench.work(operation=VectorOperation.ARGMAX, x=x, **fields)


@pytest.mark.cpp
def test_every_place_of_a_line_can_win(npe: Any, tmp_path: Path) -> None:
    """All else equal; and with all logits negative, zero or positive."""
    batch = []
    for level in (-2.0, 0.0, 3.0):
        for place in range(70):
            values = np.full(70, level)
            values[place] += 0.5
            batch.append(logits(npe, values))
    npe.check(tmp_path, batch)


@pytest.mark.cpp
def test_ties_go_to_the_lowest_id(npe: Any, tmp_path: Path) -> None:
    """Equal logits in one group, across groups, lines and parts, whatever the parts' order."""
    rng = np.random.default_rng(41)
    batch = [logits(npe, np.full(count, value)) for count in (1, 33, 200) for value in (-1, 0, 1)]
    for _ in range(200):
        values = np.zeros(int(rng.integers(2, 130)))
        values[rng.integers(0, len(values), 3)] = 1
        batch.append(logits(npe, values - rng.integers(0, 3)))
    for bases in ((0, 100, 200), (200, 0, 100), (100, 200, 0)):
        for index, base in enumerate(bases):
            values = np.resize([1.0, 2.0, 0.5], 100)
            batch.append(logits(npe, values, base=base, first=index == 0, last=index == 2))
    run = npe.check(tmp_path, batch)
    assert run.outputs["token"]["token"][-3:].tolist() == [1, 1, 1]


@pytest.mark.cpp
def test_lanes_beyond_the_count_do_not_win(npe: Any, tmp_path: Path) -> None:
    """Negative logits; what pads the line is zero and larger."""
    rng = np.random.default_rng(43)
    npe.check(tmp_path, [logits(npe, -1 - rng.random(count)) for count in range(1, 66)])


@pytest.mark.cpp
def test_both_zeros_are_equal(npe: Any, tmp_path: Path) -> None:
    run = npe.check(tmp_path, [logits(npe, [-0.0, 0.0, -1.0]), logits(npe, [-1.0, 0.0, -0.0])])
    assert run.outputs["token"]["token"].tolist() == [0, 1]


@pytest.mark.cpp
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_random_parts(npe: Any, tmp_path: Path, stall: float) -> None:
    """Rows of one to four parts at the ends of the range, close together, and repeated."""
    rng = np.random.default_rng(47)
    batch = []
    for _ in range(150):
        parts, base = int(rng.integers(1, 5)), int(rng.integers(0, 200_000))
        for part in range(parts):
            values = rng.standard_normal(int(rng.integers(1, 300))) * rng.choice([1e-30, 1, 1e30])
            if rng.random() < 0.3:
                values = np.round(values)
            flags = {"first": part == 0, "last": part == parts - 1}
            batch.append(logits(npe, values, base=base, **flags))
            base += len(values)
    npe.check(tmp_path, batch, stall)
