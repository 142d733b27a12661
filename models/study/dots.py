"""Dot products 64 long: what every variant of a column is given."""

from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwroute.column_format import LANES
from hwroute.numerics import Bits16, Ints, decode_fp16


class Format(Enum):
    """What the operands of a dot product are."""

    FP16 = "FP16xFP16"
    INT4 = "FP16xINT4"


@dataclass(frozen=True, kw_only=True)
class Dots:
    """Many dot products of one format.

    Parameters
    ----------
    format
        Of the operands.
    x
        FP16 patterns [n, 64].
    y
        FP16 patterns or INT4 values (int8, -8..7) [n, 64].
    x_reference, y_reference, product_reference
        Biased exponents that a column of the aligned design aligns each lane to, [n, 64], and
        their sum where the product is not zero, [n]; given for probabilities times values, whose
        lanes are tokens, each with a value exponent of its own. Without them the 64 lanes of an
        operand share their largest exponent.
    """

    format: Format
    x: Bits16
    y: NDArray[Any]
    x_reference: Ints | None = None
    y_reference: Ints | None = None
    product_reference: Ints | None = None

    def __post_init__(self) -> None:
        for name, operand in (("x", self.x), ("y", self.y)):
            if operand.shape != (len(self.x), LANES):
                raise ValueError(
                    f"Operand {name} must be of shape (n, {LANES}), not {operand.shape!r}"
                )
        wanted = np.uint16 if self.format is Format.FP16 else np.int8
        if self.y.dtype != wanted:
            raise TypeError(f"Operand y must be {wanted.__name__}, not {self.y.dtype!s}")

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, rows: slice) -> "Dots":
        def part(array: NDArray[Any] | None) -> NDArray[Any] | None:
            return None if array is None else array[rows]

        return Dots(
            format=self.format,
            x=self.x[rows],
            y=self.y[rows],
            x_reference=part(self.x_reference),
            y_reference=part(self.y_reference),
            product_reference=part(self.product_reference),
        )

    def alignment(self) -> tuple[Ints, Ints, Ints]:
        """Return the exponents that operands are aligned to: of x, of y, of their products.

        int64, the first two [n, 64] or [n, 1], the last [n]. INT4 needs none: zeros.
        """
        if self.x_reference is not None:
            assert self.y_reference is not None
            assert self.product_reference is not None
            return self.x_reference, self.y_reference, self.product_reference
        x = decode_fp16(self.x)[1].max(axis=1, keepdims=True)
        if self.format is Format.INT4:
            return x, np.zeros_like(x), x[:, 0]
        y = decode_fp16(self.y)[1].max(axis=1, keepdims=True)
        return x, y, (x + y)[:, 0]


def uniform(format_: Format, rng: np.random.Generator, n: int) -> Dots:
    """Return n dot products of FP16 from -1 to 1 and, in FP16xINT4, all INT4 values alike."""
    return Dots(
        format=format_,
        x=_fp16(rng.uniform(-1, 1, (n, LANES))),
        y=_fp16(rng.uniform(-1, 1, (n, LANES))) if format_ is Format.FP16 else _int4(rng, n),
    )


def outliers(format_: Format, rng: np.random.Generator, n: int) -> Dots:
    """Return n dot products of normal FP16, of which one in a hundred is 30 to 100 times larger.

    In FP16xFP16 both operands have outliers, each in lanes of its own; INT4 values are all alike.
    """
    return Dots(
        format=format_,
        x=_with_outliers(rng, n),
        y=_with_outliers(rng, n) if format_ is Format.FP16 else _int4(rng, n),
    )


def _with_outliers(rng: np.random.Generator, n: int) -> Bits16:
    factor = np.where(rng.random((n, LANES)) < 0.01, rng.uniform(30, 100, (n, LANES)), 1)
    return _fp16(rng.standard_normal((n, LANES)) * factor)


def _int4(rng: np.random.Generator, n: int) -> NDArray[np.int8]:
    return rng.integers(-8, 8, (n, LANES), dtype=np.int8)


def _fp16(values: NDArray[np.float64]) -> Bits16:
    return values.astype(np.float16).view(np.uint16)
