"""The study: which data, how many dot products of each, and what comes out."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from hwroute.models.study.capture import Capture
from hwroute.models.study.dots import Dots, Format, outliers, uniform
from hwroute.models.study.elementary import Sweep, sweep_all
from hwroute.models.study.measure import Cell, measure
from hwroute.models.study.rows import whole_rows

SEEDS = 5
"""The paper's metric is heavy-tailed: one seed says little."""
UNIFORM_FP16, UNIFORM_INT4 = "uniform, FP16xFP16", "uniform, FP16xINT4"
OUTLIERS_FP16, OUTLIERS_INT4 = "outliers, FP16xFP16", "outliers, FP16xINT4"
RANDOM = {
    UNIFORM_FP16: (uniform, Format.FP16),
    UNIFORM_INT4: (uniform, Format.INT4),
    OUTLIERS_FP16: (outliers, Format.FP16),
    OUTLIERS_INT4: (outliers, Format.INT4),
}
SCORES, VALUES, WEIGHTS = "model, q.K", "model, P.V", "model, x.W (INT4)"
CAPTURED = {SCORES: "scores", VALUES: "values", WEIGHTS: "weights"}


@dataclass(frozen=True, kw_only=True)
class Study:
    """What was measured.

    Parameters
    ----------
    samples
        Dot products of each cell, over all seeds.
    seeds
        First seed and those after it.
    cells
        In the order of `RANDOM`, then of `CAPTURED`.
    rows
        Probabilities by values over whole rows, both machine variants.
    functions
        Sweeps of the elementary functions.
    """

    samples: int
    seeds: tuple[int, ...]
    cells: tuple[Cell, ...]
    rows: Cell
    functions: tuple[Sweep, ...]

    @property
    def dot_products(self) -> int:
        """Dot products that every variant of a format was given, over all cells."""
        return self.samples * len(self.cells)


def run(captured: Capture, *, seed: int, samples: int) -> Study:
    """Measure all variants on all data and sweep the elementary functions.

    Parameters
    ----------
    captured
        What a model multiplied.
    seed
        The first of `SEEDS` consecutive ones; each draws dot products of its own.
    samples
        Dot products of each cell, over all seeds; a multiple of `SEEDS`.
    """
    if samples <= 0 or samples % SEEDS:
        raise ValueError(f"Samples must be a positive multiple of {SEEDS}, not {samples!r}")
    seeds = tuple(range(seed, seed + SEEDS))
    names = [*RANDOM, *CAPTURED]
    cells = [measure(name, draw(name, captured, seeds, samples // SEEDS)) for name in names]
    return Study(
        samples=samples,
        seeds=seeds,
        cells=tuple(cells),
        rows=whole_rows(captured, seeds),
        functions=tuple(sweep_all()),
    )


def draw(
    name: str, captured: Capture, seeds: tuple[int, ...], n: int
) -> Iterator[tuple[int, Dots]]:
    """Yield each seed with n dot products of the data called `name`."""
    for seed in seeds:
        rng = np.random.default_rng([seed, [*RANDOM, *CAPTURED].index(name)])
        if name in RANDOM:
            generate, format_ = RANDOM[name]
            yield seed, generate(format_, rng, n)
        else:
            yield seed, captured.sample(CAPTURED[name], rng, n)
