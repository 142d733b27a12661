"""A checkpoint's weights as the machine holds them, prepared once for fast bit-true products."""

import math
from dataclasses import replace
from functools import cached_property

import numpy as np

from hwroute.checkpoint import Checkpoint, Int4Weights
from hwroute.config import Numerics
from hwroute.errors import InputError
from hwroute.models.ops.columns import Columns, PreparedWeights
from hwroute.models.ops.vector import rotary_tables
from hwroute.models.rope import rotary_frequencies
from hwroute.numerics import Bits16, flush_fp16

LOG2_E = math.log2(math.e)


class MachineWeights:
    """INT4 matrices, FP16 vectors and rotary tables of a checkpoint.

    Rows of Q and K are permuted from Hugging Face's order (the two elements of a rotary pair
    head_dim/2 apart) to even/odd pairs, which turn in place.

    Parameters
    ----------
    checkpoint
        Where they come from.
    numerics
        The machine's.
    columns
        The column variant's products.
    """

    def __init__(self, checkpoint: Checkpoint, numerics: Numerics, columns: Columns):
        self.checkpoint = checkpoint
        self.numerics = numerics
        self.columns = columns
        self._matrices: dict[str, PreparedWeights] = {}
        self._vectors: dict[str, Bits16] = {}

    def matrix(self, name: str) -> PreparedWeights:
        """Return an INT4 matrix, laid out for `Columns.matmul`.

        Raises
        ------
        InputError
            Its group size is not the machine's.
        """
        if name not in self._matrices:
            weights = self.int4(name)
            self._matrices[name] = self.columns.prepare(weights.values, weights.scales)
        return self._matrices[name]

    def int4(self, name: str) -> Int4Weights:
        """Return an INT4 matrix with the machine's order of rows.

        Raises
        ------
        InputError
            Its group size is not the machine's.
        """
        weights = self.checkpoint.int4(name)
        if weights.group != self.numerics.group:
            raise InputError(
                f"{name} must have groups of {self.numerics.group} weights (numerics.group), "
                f"not {weights.group}"
            )
        if not name.endswith(("q_proj.weight", "k_proj.weight")):
            return weights
        order = self._pairs(len(weights.values))
        return replace(weights, values=weights.values[order], scales=weights.scales[order])

    def vector(self, name: str) -> Bits16:
        """Return an FP16 tensor, subnormals flushed; biases of Q and K in the order of rows."""
        if name not in self._vectors:
            bits = flush_fp16(self.checkpoint.fp16(name))
            if name.endswith(("q_proj.bias", "k_proj.bias")):
                bits = bits[self._pairs(len(bits))]
            self._vectors[name] = bits
        return self._vectors[name]

    def _pairs(self, rows: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        half = self.checkpoint.shape.head_dim // 2
        order = np.arange(rows).reshape(-1, 2, half)
        return order.transpose(0, 2, 1).reshape(-1)

    @cached_property
    def rotary(self) -> dict[str, tuple[Bits16, Bits16]]:
        """Cosines and sines [context, head_dim/2] for "q" and "k"."""
        shape = self.checkpoint.shape
        positions = np.arange(shape.context, dtype=np.float64)
        angles = positions[:, None] * rotary_frequencies(shape)[None, :]
        return {
            "q": rotary_tables(angles, LOG2_E / math.sqrt(shape.head_dim)),
            "k": rotary_tables(angles, 1.0),
        }
