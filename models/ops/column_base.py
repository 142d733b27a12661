"""What the columns of both variants share: the interface, blocks and the layout of weights."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwroute.column_format import LANES
from hwroute.config import Numerics, Variant
from hwroute.numerics import Bits16, Floats32, Ints, decode_fp16, fixed_to_fp32, fp16_to_fp32

Int4 = NDArray[np.int8]
"""INT4 weights, -8..7."""


@dataclass(frozen=True, kw_only=True)
class PreparedWeights:
    """INT4 weights in the layout that the block loops read.

    Parameters
    ----------
    blocks
        [blocks, 64, outputs]: float32 in the aligned variant, int64 in the overpacked one.
    scales
        FP32 [blocks, outputs]: a group's scale once for every block of the group.
    """

    blocks: NDArray[Any]
    scales: Floats32


class Columns(ABC):
    """The operations of the PE array, whatever is inside its columns.

    Parameters
    ----------
    numerics
        Its variant must be the one that the class is for.

    Raises
    ------
    ValueError
        Another variant; in the operations, shapes that do not fit.
    """

    variant: Variant
    weight_dtype: type
    """Element type of `PreparedWeights.blocks`."""

    def __init__(self, numerics: Numerics):
        if numerics.variant is not self.variant:
            raise ValueError(
                f"Numerics variant must be {self.variant.value!r}, not {numerics.variant.value!r}"
            )
        self.numerics = numerics

    def prepare(self, values: Int4, scales: Bits16) -> PreparedWeights:
        """Lay out INT4 values [N, K] and FP16 scales [N, ceil(K / group)] for many products."""
        outputs, reduction = values.shape
        expected = (outputs, -(-reduction // self.numerics.group))
        if scales.shape != expected:
            raise ValueError(f"Scales must be of shape {expected}, not {scales.shape!r}")
        lanes = blocks_of(padded(values)).transpose(1, 2, 0)
        blocks: NDArray[Any] = lanes.astype(self.weight_dtype, order="C")
        repeated = np.repeat(fp16_to_fp32(scales), self.numerics.group // LANES, axis=1)
        return PreparedWeights(blocks=blocks, scales=repeated[:, : len(blocks)].T.copy())

    def matmul_int4(self, x: Bits16, values: Int4, scales: Bits16) -> Floats32:
        """Prepare the weights and multiply."""
        return self.matmul(x, self.prepare(values, scales))

    @abstractmethod
    def matmul(
        self, x: Bits16, weights: PreparedWeights, start: Floats32 | None = None
    ) -> Floats32:
        """Return start + x . w [T, N] in FP32 for FP16 x [T, K]; start is +0 by default.

        Per block of 64, the dot product becomes FP32 (exactly), is multiplied by the block's scale
        and added to the blocks before it; both round to nearest even.
        """

    @staticmethod
    def partial_sums(x: Bits16, weights: PreparedWeights, start: Floats32 | None) -> Floats32:
        """Return FP32 [T, N] to add a product's blocks to: a copy of `start`, or +0."""
        if start is not None:
            return start.copy()
        return np.zeros((len(x), weights.blocks.shape[2]), np.float32)

    @abstractmethod
    def block_dot_fp16(self, x: Bits16, y: Bits16) -> tuple[Ints, Ints]:
        """Return integer sums and powers of two of FP16 x [T, 64] by y [n, 64]."""

    def scores(self, q: Bits16, k: Bits16) -> Floats32:
        """Return q . k [H, T, n] in FP32 for FP16 q [H, T, d] and k [H, n, d].

        d is padded with zeros to a multiple of 64. The dot product of a block of 64 dimensions is
        rounded once to FP32 and added to the blocks before it.
        """
        a, b = blocks_of(padded(q)), blocks_of(padded(k))
        total = np.zeros((*q.shape[:2], k.shape[1]), np.float32)
        for head in range(len(q)):
            for block in range(a.shape[2]):
                terms = self.block_dot_fp16(a[head, :, block], b[head, :, block])
                total[head] += fixed_to_fp32(*terms)
        return total

    @abstractmethod
    def values(self, p: Bits16, v: Bits16, reference: Ints) -> Floats32:
        """Return the sum over t of p_t v_t [H, T, d] in FP32.

        Parameters
        ----------
        p
            FP16 [H, T, n]: probabilities times 2**15, zero where masked.
        v
            FP16 [H, n, d].
        reference
            Biased exponents [H, T, ceil(d / 64)], each at least `value_exponents` of every token
            whose p is not zero.
        """

    def value_exponents(self, v: Bits16) -> Ints:
        """Return the largest biased exponent [H, n, ceil(d / 64)] in each block of v [H, n, d]."""
        exponents: Ints = decode_fp16(blocks_of(padded(v)))[1].max(axis=-1)
        return exponents

    def fold(self, p: Bits16, v: Bits16, reference: Ints) -> Ints:
        """Return reference minus value exponents [H, blocks, T, n], 0 where p is zero.

        Raises
        ------
        ValueError
            A reference below the exponent of a value that takes part.
        """
        exponents = self.value_exponents(v).swapaxes(1, 2)[:, :, None, :]
        distance = reference.swapaxes(1, 2)[..., None] - exponents
        distance = np.where((p & 0x7C00)[:, None] != 0, distance, 0)
        if (distance < 0).any():
            raise ValueError(
                "Reference must be at least the exponent of every value, "
                f"not {-int(distance.min())!r} below"
            )
        return distance


def blocks_of(x: NDArray[Any]) -> NDArray[Any]:
    """Split the last axis into blocks of 64: [..., nb * 64] -> [..., nb, 64]."""
    if x.shape[-1] % LANES:
        raise ValueError(f"Reduction must be a multiple of {LANES} long, not {x.shape[-1]!r}")
    return x.reshape(*x.shape[:-1], -1, LANES)


def padded(x: NDArray[Any]) -> NDArray[Any]:
    """Pad the last axis with zeros to a multiple of 64."""
    missing = -x.shape[-1] % LANES
    return np.pad(x, [*[(0, 0)] * (x.ndim - 1), (0, missing)]) if missing else x
