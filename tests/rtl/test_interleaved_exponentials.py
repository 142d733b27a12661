# amaranth: UnusedElaboratable=no
"""Exponentials of rows whose tiles come interleaved, against the golden operators."""

from typing import Any

import numpy as np
import pytest

from hwroute import timing
from hwroute.models.ops.functions import probabilities
from hwroute.models.ops.reduction import ceiling_of_maximum, sum_of_probabilities
from hwroute.rtl import softmax
from hwroute.rtl.exp2 import Probability
from hwroute.rtl.softmax import NO_MAXIMUM, RowExponentials
from hwroute.sim.stream_simulation import simulate_streams
from hwroute.sim.units import Run


@pytest.fixture(autouse=True)
def whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put lanes in as they are: Amaranth's simulator knows no parts."""
    monkeypatch.setattr(softmax, "probability", Probability)


class Tiles:
    """Tiles of rows in slots, in the order in which they are sent, and what must come back."""

    def __init__(self, slots: int, lanes: int, seed: int):
        self.slots, self.lanes = slots, lanes
        self.rng = np.random.default_rng(seed)
        self.fields: dict[str, list[Any]] = {
            name: [] for name in ("slot", "maximum", "first", "last", "mask", "scores")
        }
        self.p: list[Any] = []
        self.sums: list[tuple[int, int]] = []

    def add(self, counts: list[int], *, spread: float = 4.0, seen: float = 0.8) -> None:
        """Add a row of so many tiles in each slot, interleaved at random."""
        rows = []
        for count in counts:
            shape = (count, self.lanes)
            scores = (spread * self.rng.standard_normal(shape)).astype(np.float16).view(np.uint16)
            mask = self.rng.random(shape) < seen
            maximum = NO_MAXIMUM
            if mask.any():
                maximum = int(ceiling_of_maximum(scores.ravel(), mask.ravel()))
            p = np.where(mask, probabilities(scores, np.array(maximum)), 0)
            rows.append((scores, mask, maximum, p))
        order = np.repeat(np.arange(len(counts)), counts)
        self.rng.shuffle(order)
        at = [0] * len(counts)
        for slot in order.tolist():
            scores, mask, maximum, p = rows[slot]
            tile, at[slot] = at[slot], at[slot] + 1
            values = (slot, maximum, tile == 0, at[slot] == counts[slot])
            for name, value in zip(self.fields, values, strict=False):
                self.fields[name].append(int(value))
            self.fields["mask"].append(int(sum(1 << i for i in np.flatnonzero(mask[tile]))))
            self.fields["scores"].append(scores[tile])
            self.p.append((slot, p[tile]))
            if at[slot] == counts[slot]:
                total = sum_of_probabilities(p.ravel().astype(np.uint16))
                self.sums.append((slot, int(np.float32(total).view(np.uint32))))

    def run(self, stall: float) -> Run:
        unit = RowExponentials(self.slots, self.lanes)
        inputs = {"i": {name: np.array(values) for name, values in self.fields.items()}}
        expect = {"p": len(self.p), "o": len(self.sums)}
        run = simulate_streams(unit, inputs, expect, stall=stall, seed=3)
        p, o = run.outputs["p"], run.outputs["o"]
        np.testing.assert_array_equal(p["slot"], [slot for slot, _ in self.p])
        np.testing.assert_array_equal(p["lanes"], [lanes for _, lanes in self.p])
        for name in ("first", "last"):
            np.testing.assert_array_equal(p[name], self.fields[name])
        assert list(zip(o["slot"].tolist(), o["value"].tolist(), strict=True)) == self.sums
        return run


@pytest.mark.parametrize("stall", [0.0, 0.4])
@pytest.mark.parametrize(("slots", "lanes"), [(4, 6), (3, 1), (1, 5)])
def test_sums_of_interleaved_rows_are_the_golden_ones(slots: int, lanes: int, stall: float) -> None:
    tiles = Tiles(slots, lanes, seed=slots)
    for _ in range(3):
        tiles.add([int(tiles.rng.integers(1, 6)) for _ in range(slots)])
    tiles.add([2] * slots, seen=0.0)
    tiles.add([1] * slots, spread=2000.0)
    tiles.run(stall)


def test_sums_of_neighbouring_tiles_of_a_slot() -> None:
    """A tile adds to what the one in the cycle before has left."""
    tiles = Tiles(2, 4, seed=9)
    tiles.add([12, 0], seen=1.0)
    tiles.add([0, 7], seen=1.0)
    tiles.run(0.0)


def test_latency_is_the_same_with_slots() -> None:
    tiles = Tiles(4, 6, seed=5)
    tiles.add([1, 1, 1, 1])
    run = tiles.run(0.0)
    came = run.in_cycles["i"]
    np.testing.assert_array_equal(run.out_cycles["p"] - came, timing.PROBABILITY_CYCLES)
    np.testing.assert_array_equal(run.out_cycles["o"] - came, timing.EXPONENTIALS_CYCLES)


def test_wrong_sizes_of_exponentials_are_refused() -> None:
    with pytest.raises(ValueError, match="Slots must be at least 1, not 0"):
        RowExponentials(0)
    with pytest.raises(ValueError, match="Lanes must be from 1 to 64, not 65"):
        RowExponentials(1, 65)
