"""Errors of all variants on the same dot products, with the same final rounding."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum

import numpy as np

from hwroute.config import Rounding
from hwroute.models.study.dots import Dots
from hwroute.models.study.variants import VARIANTS, Floats, Operands, Variant, round_to_fp16

CHUNK = 4096
"""Dot products at a time: what fits a core's cache."""


class Final(Enum):
    """What happens to a column's result before it is compared.

    A cascade's result is an FP16 already; no conversion changes it.
    """

    NONE = "partial sum"
    NEAREST_EVEN = "FP16, to nearest even"
    TOWARD_ZERO = "FP16, toward zero"

    def apply(self, values: Floats) -> Floats:
        """Round float64 [...] to the significand of an FP16, or leave it."""
        if self is Final.NONE:
            return values
        nearest = self is Final.NEAREST_EVEN
        return round_to_fp16(values, Rounding.NEAREST_EVEN if nearest else Rounding.TOWARD_ZERO)


@dataclass(kw_only=True)
class Total:
    """Sums over dot products of one variant and final conversion.

    Parameters
    ----------
    count
        Dot products.
    zeros
        Those whose exact value is zero; they have no relative error.
    error, exact, relative
        Sums of |result - exact|, of |exact|, and of their quotients.
    """

    count: int = 0
    zeros: int = 0
    error: float = 0.0
    exact: float = 0.0
    relative: float = 0.0

    def add(self, result: Floats, exact: Floats) -> None:
        """Count results [n] against exact values [n]."""
        error, magnitude = np.abs(result - exact), np.abs(exact)
        present = magnitude > 0
        self.count += len(exact)
        self.zeros += int((~present).sum())
        self.error += float(error.sum())
        self.exact += float(magnitude.sum())
        self.relative += float((error[present] / magnitude[present]).sum())

    @property
    def sum_error_percent(self) -> float:
        """The criterion: sum of errors over sum of exact magnitudes."""
        return 100 * self.error / self.exact

    @property
    def mean_relative_error_percent(self) -> float:
        """The paper's metric: mean relative error of a dot product that is not zero."""
        return 100 * self.relative / (self.count - self.zeros)


@dataclass(kw_only=True)
class Cell:
    """All variants on one set of data, once for each seed.

    Parameters
    ----------
    name
        Of the data.
    format
        Of the operands.
    totals
        By key of the variant, final conversion and seed.
    """

    name: str
    format: str
    totals: dict[tuple[str, Final, int], Total] = field(default_factory=dict)

    def of(self, key: str, final: Final) -> list[Total]:
        """Return a variant's totals, one a seed; none where the variant does not apply."""
        return [
            total for (name, kind, _), total in self.totals.items() if (name, kind) == (key, final)
        ]


def measure(
    name: str, dots_by_seed: Iterable[tuple[int, Dots]], variants: Iterable[Variant] = VARIANTS
) -> Cell:
    """Return the errors of every variant that knows the data's format.

    Parameters
    ----------
    name
        Of the data.
    dots_by_seed
        Seeds and dot products; every variant gets the same ones.
    variants
        What to compare.
    """
    variants = tuple(variants)
    cell = Cell(name=name, format="")
    for seed, dots in dots_by_seed:
        cell.format = dots.format.value
        for start in range(0, len(dots), CHUNK):
            operands = Operands(dots[start : start + CHUNK])
            for variant in variants:
                if dots.format in variant.formats:
                    _add(cell.totals, variant, seed, operands)
    return cell


def _add(
    totals: dict[tuple[str, Final, int], Total], variant: Variant, seed: int, operands: Operands
) -> None:
    result = variant.compute(operands)
    for final in Final:
        total = totals.setdefault((variant.key, final, seed), Total())
        total.add(final.apply(result), operands.exact)


def spread(values: Iterable[float]) -> Mapping[str, float]:
    """Return mean, smallest and largest of a figure over seeds."""
    array = np.array(list(values))
    return {"mean": float(array.mean()), "min": float(array.min()), "max": float(array.max())}
