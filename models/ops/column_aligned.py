"""Columns of the aligned variant, bit for bit."""

import numpy as np

from hwroute.column_format import FP16_POINT, INT4_POINT, PROBABILITY_REFERENCE, VALUES_POINT
from hwroute.config import Variant
from hwroute.models.ops.column_base import Columns, Int4, PreparedWeights, blocks_of, padded
from hwroute.numerics import (
    FP16_MAGNITUDE_BITS,
    INT4_MAGNITUDE_BITS,
    Bits16,
    Floats32,
    Ints,
    align_block,
    align_to,
    fixed_to_fp32,
)


class AlignedColumns(Columns):
    """Columns that multiply block-aligned integers: every sum of 64 is exact."""

    variant = Variant.ALIGNED
    weight_dtype = np.float32

    def block_dot_int4(self, x: Bits16, weights: Int4) -> tuple[Ints, Ints]:
        """Return integer sums [T, N, nb] and powers of two [T, 1, nb]; value = sum * 2**power.

        x: FP16 [T, nb, 64]; weights: [N, nb, 64] of -8..7. Computed in float32, which is exact:
        |sum| <= 64 * 8 * 16383 < 2**23, and so is every partial sum.
        """
        aligned, exponent = align_block(x, INT4_MAGNITUDE_BITS)
        a, w = aligned.astype(np.float32), weights.astype(np.float32)
        sums = np.matmul(a.swapaxes(0, 1), w.transpose(1, 2, 0)).transpose(1, 2, 0)
        return sums.astype(np.int64), exponent[:, None, :] - INT4_POINT

    def block_dot_fp16(self, x: Bits16, y: Bits16) -> tuple[Ints, Ints]:
        """Return integer sums [T, N] and powers of two [T, N] of FP16 x [T, 64] and y [N, 64].

        Computed in float64, which is exact: |sum| < 64 * 2**17 * 2**17 = 2**40.
        """
        a, ea = align_block(x, FP16_MAGNITUDE_BITS)
        b, eb = align_block(y, FP16_MAGNITUDE_BITS)
        sums = a.astype(np.float64) @ b.astype(np.float64).T
        return sums.astype(np.int64), ea[:, None] + eb[None, :] - 2 * FP16_POINT

    def matmul(
        self, x: Bits16, weights: PreparedWeights, start: Floats32 | None = None
    ) -> Floats32:
        """Return start + x . w [T, N]; float32 products of blocks are exact (`block_dot_int4`)."""
        aligned, exponent = align_block(blocks_of(padded(x)), INT4_MAGNITUDE_BITS)
        a = aligned.astype(np.float32)
        power = np.ldexp(np.float32(1), exponent - INT4_POINT).astype(np.float32)
        total = self.partial_sums(x, weights, start)
        for block, (w, scale) in enumerate(zip(weights.blocks, weights.scales, strict=True)):
            total += (a[:, block] @ w) * power[:, block, None] * scale
        return total

    def values(self, p: Bits16, v: Bits16, reference: Ints) -> Floats32:
        """Return the sum of p_t v_t [H, T, d]: added as integers, rounded once.

        p_t is aligned to the reference less the exponent of token t's block of v, so that the
        products of a row share one exponent, and their sum does not depend on the order of tokens.
        """
        b, _ = align_block(blocks_of(padded(v)), FP16_MAGNITUDE_BITS)
        target = PROBABILITY_REFERENCE + self.fold(p, v, reference)
        a = align_to(p[:, None], target, FP16_MAGNITUDE_BITS)
        # Exact in float64: |sum| < n * 2**17 * 2**17 <= 2**53 up to n = 2**19 tokens.
        sums = a.astype(np.float64) @ b.swapaxes(1, 2).astype(np.float64)
        power = reference.swapaxes(1, 2)[..., None] - VALUES_POINT
        rows = fixed_to_fp32(sums.astype(np.int64), power).swapaxes(1, 2)
        return rows.reshape(*p.shape[:2], -1)[..., : v.shape[2]]
