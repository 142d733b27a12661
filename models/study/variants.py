"""The designs of a column that are compared: each computes a dot product of 64 its own way.

A variant returns float64 [n] holding exactly what the hardware would: a binary floating-point
number of unbounded exponent, so that only the rounding of significands is compared, not ranges.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwroute.column_format import SIGNIFICAND_POINT, TRUNCATED_BITS
from hwroute.config import Rounding
from hwroute.models.study.dots import Dots, Format
from hwroute.numerics import (
    FP16_BIAS,
    FP16_MAGNITUDE_BITS,
    FP16_SIGNIFICAND_BITS,
    INT4_MAGNITUDE_BITS,
    Ints,
    align_to,
    decode_fp16,
    fp16_to_float64,
)

Floats = NDArray[np.float64]

FLOAT64_SIGNIFICAND_BITS = 53
ONE_CASCADE_MAGNITUDE_BITS = 12
"""One cascade of 64 lanes leaves one guard bit: |a| <= 4095, and 64 * 8 * 4095 < 2**21."""
WIDE_MAGNITUDE_BITS = 23
"""A signed operand of 24 bits, which a DSP's 27-bit port takes."""


class Operands:
    """Dot products decoded once, for all variants.

    Parameters
    ----------
    dots
        n dot products.

    Members
    -------
    products
        float64 [n, 64], exact.
    exact
        float64 [n]: their sum, with an error below 2**-47 of the sum of magnitudes.
    """

    def __init__(self, dots: Dots):
        self.dots = dots
        y = fp16_to_float64(dots.y) if dots.format is Format.FP16 else dots.y
        self.products: Floats = fp16_to_float64(dots.x) * y
        self.exact: Floats = self.products.sum(axis=1)

    @cached_property
    def largest(self) -> Ints:
        """Largest exponent of a product that is not zero, [n]: sums of biased exponents."""
        exponents = decode_fp16(self.dots.x)[1]
        if self.dots.format is Format.FP16:
            exponents = exponents + decode_fp16(self.dots.y)[1]
        largest: Ints = np.where(self.products != 0, exponents, 0).max(axis=1)
        return largest


def round_to_fp16(values: Floats, rounding: Rounding) -> Floats:
    """Round float64 [...] to the 11-bit significand of an FP16, whatever the exponent."""
    dropped = FLOAT64_SIGNIFICAND_BITS - FP16_SIGNIFICAND_BITS
    words = np.ascontiguousarray(values).view(np.int64)
    if rounding is Rounding.NEAREST_EVEN:
        # Sign and magnitude: adding to the word moves the magnitude away from zero.
        words = words + ((1 << (dropped - 1)) - 1) + ((words >> dropped) & 1)
    return (words & -(1 << dropped)).view(np.float64)


def tree(operands: Operands, *, product_bits: int) -> Floats:
    """Align products to the largest exponent, keep `product_bits`, add exactly.

    22 or 15; magnitudes are truncated toward zero. To drop 7 bits of a product of significands and
    then the distance to the largest exponent is to truncate once, at the larger of both.
    """
    point = -SIGNIFICAND_POINT - TRUNCATED_BITS
    if operands.dots.format is Format.FP16:
        point = -2 * SIGNIFICAND_POINT
    if product_bits == 15:
        point += TRUNCATED_BITS
    unit = np.ldexp(1.0, operands.largest + point)
    kept = np.trunc(operands.products * (1 / unit)[:, None])
    total: Floats = kept.sum(axis=1) * unit
    return total


def aligned(operands: Operands, *, x_bits: int, y_bits: int = FP16_MAGNITUDE_BITS) -> Floats:
    """Align operands before they are multiplied, add exactly.

    x (and y in FP16xFP16) become integers below 2**x_bits (2**y_bits), rounded to nearest even.
    """
    dots = operands.dots
    x_reference, y_reference, reference = dots.alignment()
    a = align_to(dots.x, x_reference, x_bits).astype(np.float64)
    point = FP16_BIAS + x_bits - 1
    y: NDArray[Any] = dots.y
    if dots.format is Format.FP16:
        y = align_to(dots.y, y_reference, y_bits)
        point += FP16_BIAS + y_bits - 1
    # Exact in float64: 64 products below 2**(17 + 23) are below 2**46.
    total: Floats = np.ldexp((a * y).sum(axis=1), reference - point)
    return total


def cascaded_macs(operands: Operands) -> Floats:
    """Multiply and accumulate in FP16, lane after lane: product and sum each rounded to nearest."""
    return _accumulate(round_to_fp16(operands.products, Rounding.NEAREST_EVEN))


def cascaded_overpacked(operands: Operands) -> Floats:
    """Accumulate in FP16, lane after lane: the overpacked product of 15 bits, the sum rounded.

    The product of significands is truncated to 15 bits (one of FP16xINT4 has no more); each sum is
    rounded to nearest even.
    """
    products = operands.products
    if operands.dots.format is Format.FP16:
        exponent = decode_fp16(operands.dots.x)[1] + decode_fp16(operands.dots.y)[1]
        unit = np.ldexp(1.0, exponent - 2 * SIGNIFICAND_POINT + TRUNCATED_BITS)
        products = np.trunc(products / unit) * unit
    return _accumulate(products)


def _accumulate(products: Floats) -> Floats:
    """Add products [n, 64] in order, rounding each sum to an FP16 significand, nearest even."""
    total = np.zeros(len(products))
    for lane in np.ascontiguousarray(products.T):
        total = round_to_fp16(total + lane, Rounding.NEAREST_EVEN)
    return total


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One design.

    Parameters
    ----------
    key
        In JSON.
    label
        In tables and plots.
    formats
        What it is compared in.
    compute
        Its result, float64 [n].
    """

    key: str
    label: str
    formats: tuple[Format, ...]
    compute: Callable[[Operands], Floats]


BOTH = (Format.FP16, Format.INT4)


def _aligned_default(operands: Operands) -> Floats:
    int4 = operands.dots.format is Format.INT4
    return aligned(operands, x_bits=INT4_MAGNITUDE_BITS if int4 else FP16_MAGNITUDE_BITS)


VARIANTS = (
    Variant(
        key="exact",
        label="the exact sum",
        formats=BOTH,
        compute=lambda operands: operands.exact,
    ),
    Variant(
        key="tree-22",
        label="1: 22-bit products, LUT tree",
        formats=BOTH,
        compute=lambda operands: tree(operands, product_bits=22),
    ),
    Variant(
        key="tree-15",
        label="2 and 3: 15-bit products, LUT or DSP tree",
        formats=BOTH,
        compute=lambda operands: tree(operands, product_bits=15),
    ),
    Variant(
        key="cascaded-macs",
        label="64 cascaded FP16 MACs",
        formats=BOTH,
        compute=cascaded_macs,
    ),
    Variant(
        key="cascaded-overpacked",
        label="64 cascaded overpacked DSPs",
        formats=BOTH,
        compute=cascaded_overpacked,
    ),
    Variant(
        key="aligned",
        label="aligned once (default)",
        formats=BOTH,
        compute=_aligned_default,
    ),
    Variant(
        key="aligned-one-cascade",
        label="aligned once, one cascade of 64",
        formats=(Format.INT4,),
        compute=lambda operands: aligned(operands, x_bits=ONE_CASCADE_MAGNITUDE_BITS),
    ),
    Variant(
        key="aligned-24-kv",
        label="aligned once, 24-bit K and V",
        formats=(Format.FP16,),
        compute=lambda operands: aligned(
            operands, x_bits=FP16_MAGNITUDE_BITS, y_bits=WIDE_MAGNITUDE_BITS
        ),
    ),
    Variant(
        key="aligned-24-qp",
        label="aligned once, 24-bit q and p",
        formats=(Format.FP16,),
        compute=lambda operands: aligned(
            operands, x_bits=WIDE_MAGNITUDE_BITS, y_bits=FP16_MAGNITUDE_BITS
        ),
    ),
)
"""In the order of tables; the first shows what the final conversion alone costs.

The paper's variant 3 adds the same integers as its variant 2, in DSPs instead of LUTs: equal in
every bit, so it is not computed twice.
"""
