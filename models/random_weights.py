"""A checkpoint of any shape with seeded random weights: for sizes whose weights are not here."""

import hashlib
import math
import zlib

import numpy as np
from numpy.typing import NDArray

from hwroute.checkpoint import (
    Floats,
    Int4Weights,
    Tokenizer,
    groups_of,
    matrix_shapes,
    router_shapes,
    vector_shapes,
)
from hwroute.policy import RoutingPolicy
from hwroute.shape import ModelShape


class RandomCheckpoint:
    """Satisfies `hwroute.checkpoint.Checkpoint`; tensors are made when asked for.

    Matrices have independent INT4 values, each group's scale such that outputs keep the variance
    of inputs; norms are near one; routers and embeddings are normal.

    Parameters
    ----------
    shape, policy
        Of the model.
    seed
        Of every tensor, together with its name.
    group
        Weights along the reduction that share a scale.
    """

    def __init__(self, shape: ModelShape, policy: RoutingPolicy, *, seed: int, group: int = 128):
        self.shape = shape
        self.policy = policy
        self.seed = seed
        self.group = group
        self.tokenizer: Tokenizer | None = None
        self._matrices = matrix_shapes(shape)
        self._vectors = vector_shapes(shape) | router_shapes(shape, policy)

    @property
    def name(self) -> str:
        """``random-<dim>x<layers>-<seed>``."""
        return f"random-{self.shape.dim}x{self.shape.layers}-{self.seed}"

    @property
    def hash(self) -> str:
        """SHA-256 of what decides every weight."""
        identity = repr((self.shape, self.policy, self.seed, self.group))
        return hashlib.sha256(identity.encode()).hexdigest()

    def tensor(self, name: str) -> Floats:
        """Return a tensor as float32: the dequantised matrix, or the FP16 vector."""
        if name in self._matrices:
            return self.int4(name).dequantised()
        return self.fp16(name).view(np.float16).astype(np.float32)

    def int4(self, name: str) -> Int4Weights:
        """Return a matrix on the INT4 grid."""
        rows, columns = self._matrices[name]
        random = self._random(name)
        values = random.integers(-8, 8, (rows, columns), dtype=np.int8)
        # The standard deviation of integers from -8 to 7 is 4.6.
        scale = random.uniform(0.8, 1.2, (rows, groups_of(columns, self.group)))
        scales = (scale / (4.6 * math.sqrt(columns))).astype(np.float16).view(np.uint16)
        return Int4Weights(values=values, scales=scales, group=self.group)

    def fp16(self, name: str) -> NDArray[np.uint16]:
        """Return an FP16 tensor as patterns."""
        random = self._random(name)
        values = random.standard_normal(self._vectors[name])
        if name.endswith("norm.weight"):
            values = 1 + 0.1 * values
        return values.astype(np.float16).view(np.uint16)

    def _random(self, name: str) -> np.random.Generator:
        return np.random.default_rng([self.seed, zlib.crc32(name.encode())])
