"""Columns of the overpacked variant (SkipOPU's variant 2), bit for bit.

Products of significands are aligned after the multiply. A product is zero when an operand is, and
takes no part in the column's largest exponent. Magnitudes are truncated toward zero: in FP16xFP16
by 7 of their 22 bits, then in both modes by the distance to the largest exponent.
"""

import numpy as np

from hwroute.column_format import SIGNIFICAND_POINT, TRUNCATED_BITS
from hwroute.config import Variant
from hwroute.models.ops.column_base import Columns, Int4, PreparedWeights, blocks_of, padded
from hwroute.numerics import Bits16, Floats32, Ints, decode_fp16, fixed_to_fp32


class OverpackedColumns(Columns):
    """Columns that align products: integers throughout, sums of at most 22 bits."""

    variant = Variant.OVERPACKED
    weight_dtype = np.int64

    def block_dot_int4(self, x: Bits16, weights: Int4) -> tuple[Ints, Ints]:
        """Return integer sums [T, N, nb] and powers of two [T, N, nb]; value = sum * 2**power.

        x: FP16 [T, nb, 64]; weights: [N, nb, 64] of -8..7. Products have 15 bits with sign.
        """
        negative, exponent, significand = decode_fp16(x)
        signed = np.where(negative == 1, -significand, significand)
        products = signed[:, None] * weights.astype(np.int64)
        sums, largest = align_and_add(products, exponent[:, None])
        return sums, largest - SIGNIFICAND_POINT

    def block_dot_fp16(self, x: Bits16, y: Bits16) -> tuple[Ints, Ints]:
        """Return integer sums [T, N] and powers of two [T, N] of FP16 x [T, 64] and y [N, 64].

        Magnitudes of products have 15 bits, the sign beside them.
        """
        sign_x, exponent_x, significand_x = decode_fp16(x[:, None])
        sign_y, exponent_y, significand_y = decode_fp16(y[None, :])
        truncated = (significand_x * significand_y) >> TRUNCATED_BITS
        products = np.where(sign_x ^ sign_y == 1, -truncated, truncated)
        sums, largest = align_and_add(products, exponent_x + exponent_y)
        return sums, largest - 2 * SIGNIFICAND_POINT + TRUNCATED_BITS

    def matmul(
        self, x: Bits16, weights: PreparedWeights, start: Floats32 | None = None
    ) -> Floats32:
        """Return start + x . w [T, N], block by block."""
        total = self.partial_sums(x, weights, start)
        lanes = blocks_of(padded(x))
        for block, (w, scale) in enumerate(zip(weights.blocks, weights.scales, strict=True)):
            sums, power = self.block_dot_int4(lanes[:, block, None], w.T[:, None])
            total += fixed_to_fp32(sums[..., 0], power[..., 0]) * scale
        return total

    def values(self, p: Bits16, v: Bits16, reference: Ints) -> Floats32:
        """Return the sum of p_t v_t [H, T, d]: blocks of 64 tokens accumulate in FP32, in order.

        The reference is checked as in the other variant, and changes nothing.
        """
        self.fold(p, v, reference)
        return self.scores(p, v.swapaxes(1, 2))


def align_and_add(products: Ints, exponent: Ints) -> tuple[Ints, Ints]:
    """Return sums [...] of products [..., 64] truncated to the largest exponent, and that exponent.

    `exponent` broadcasts against `products`; the largest one of no product is 0.
    """
    effective = np.where(products != 0, exponent, 0)
    largest = effective.max(axis=-1)
    shift = np.where(products != 0, largest[..., None] - effective, 0)
    magnitude = np.abs(products) >> shift
    return np.where(products < 0, -magnitude, magnitude).sum(axis=-1), largest
