"""Row reductions: sum of squares beside the router's dot products, maximum, sum of exponentials.

Sums of squares and logits accumulate FP32 over blocks of 64 in order. Maximum and sum of
exponentials do not depend on the order of their operands, not even in the last bit: the maximum is
rounded up to an integer, and the exponentials are added as integers in units of 2**-24.
"""

import numpy as np
from numpy.typing import NDArray

from hwroute.models.ops.column_base import blocks_of, padded
from hwroute.numerics import (
    FP16_BIAS,
    FP16_MAGNITUDE_BITS,
    Bits16,
    Floats32,
    Ints,
    align_block,
    fixed_to_fp32,
    fp16_to_float64,
    fp16_to_int,
)

ALIGNED_POINT = FP16_BIAS + FP16_MAGNITUDE_BITS - 1
"""An aligned integer a at block exponent e is a * 2**(e - ALIGNED_POINT)."""

PROBABILITY_POINT = 24
"""Every FP16 is a multiple of 2**-24."""
NO_MAXIMUM = -(1 << 16)
"""Maximum where no score is valid: below every score, and what `hwroute.rtl.softmax` gives."""


def sum_of_squares(x: Bits16) -> Floats32:
    """Return sum of x**2 [rows] in FP32 for FP16 x [rows, n].

    Each block of 64, the last one filled up with zeros, is aligned (17-bit magnitudes), squared and
    added exactly, rounded once to FP32, and added to the blocks before it.
    """
    aligned, exponent = align_block(blocks_of(padded(x)), FP16_MAGNITUDE_BITS)
    blocks = fixed_to_fp32(np.square(aligned).sum(axis=-1), 2 * (exponent - ALIGNED_POINT))
    return accumulate(blocks)


def dot_products(x: Bits16, w: Bits16) -> Floats32:
    """Return x . w [rows, outputs] in FP32 for FP16 x [rows, n] and w [outputs, n].

    Per block of 64, both operands aligned, an exact integer sum rounded once to FP32; then added
    to the blocks before it.
    """
    a, ea = align_block(blocks_of(padded(x)), FP16_MAGNITUDE_BITS)
    b, eb = align_block(blocks_of(padded(w)), FP16_MAGNITUDE_BITS)
    # Exact in float64: 64 * 2**17 * 2**17 = 2**40.
    sums = np.einsum("rbl,obl->rob", a.astype(np.float64), b.astype(np.float64))
    exponent = ea[:, None, :] + eb[None, :, :] - 2 * ALIGNED_POINT
    return accumulate(fixed_to_fp32(sums.astype(np.int64), exponent))


def accumulate(blocks: Floats32) -> Floats32:
    """Add FP32 blocks [..., n] in order, rounding to nearest even after each addition."""
    total = blocks[..., 0]
    for index in range(1, blocks.shape[-1]):
        total = total + blocks[..., index]
    return total


def ceiling_of_maximum(scores: Bits16, valid: NDArray[np.bool_]) -> Ints:
    """Return the largest valid score [...] rounded up to an integer; without one `NO_MAXIMUM`.

    scores: FP16 [..., n]; valid: bool, broadcast.
    """
    ceiling = np.ceil(fp16_to_float64(scores)).astype(np.int64)
    largest: Ints = np.where(valid, ceiling, NO_MAXIMUM).max(axis=-1)
    return largest


def sum_of_probabilities(p: Bits16) -> Floats32:
    """Return the sum [...] of non-negative FP16 p [..., n]: exact, rounded once to FP32."""
    units = fp16_to_int(p, PROBABILITY_POINT)
    return fixed_to_fp32(units.sum(axis=-1), -PROBABILITY_POINT)
