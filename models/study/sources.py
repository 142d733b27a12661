"""Operands of executed operations, and how their dot products of 64 are sampled."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwroute.column_format import LANES, PROBABILITY_REFERENCE
from hwroute.models.study.dots import Dots, Format
from hwroute.numerics import Bits16, Ints

Indices = NDArray[np.int64]


class Source(ABC):
    """The operands of one executed operation; many dot products."""

    @property
    @abstractmethod
    def count(self) -> int:
        """Dot products of 64 in the operation."""

    @abstractmethod
    def sample(self, rng: np.random.Generator, n: int) -> Dots:
        """Return n of them, each as likely as any other, with repetition."""


@dataclass(frozen=True, kw_only=True)
class Matmul(Source):
    """Activations by INT4 weights.

    Parameters
    ----------
    x
        FP16 [rows, K].
    weights
        INT4 [N, K].
    """

    x: Bits16
    weights: NDArray[np.int8]

    @property
    def count(self) -> int:
        """Rows times outputs times blocks of 64."""
        return self.x.size * len(self.weights) // LANES

    def sample(self, rng: np.random.Generator, n: int) -> Dots:
        """Choose row, output and block of 64 inputs."""
        block = rng.integers(0, self.x.shape[1] // LANES, n)
        x = self.x.reshape(len(self.x), -1, LANES)
        weights = self.weights.reshape(len(self.weights), -1, LANES)
        return Dots(
            format=Format.INT4,
            x=x[rng.integers(0, len(x), n), block],
            y=weights[rng.integers(0, len(weights), n), block],
        )


@dataclass(frozen=True, kw_only=True)
class Scores(Source):
    """Queries by keys, where the query attends to the entry.

    Parameters
    ----------
    q
        FP16 [heads, rows, dims], dims a multiple of 64.
    k
        FP16 [kv_heads, entries, dims].
    visible
        Pairs of row and entry [pairs, 2].
    """

    q: Bits16
    k: Bits16
    visible: Indices

    @property
    def count(self) -> int:
        """Heads times pairs times blocks of 64 dimensions."""
        return len(self.visible) * len(self.q) * int(self.q.shape[2]) // LANES

    def sample(self, rng: np.random.Generator, n: int) -> Dots:
        """Choose head, pair and block of 64 dimensions."""
        head = rng.integers(0, len(self.q), n)
        row, entry = self.visible[rng.integers(0, len(self.visible), n)].T
        block = rng.integers(0, self.q.shape[2] // LANES, n)
        q = self.q.reshape(*self.q.shape[:2], -1, LANES)
        k = self.k.reshape(*self.k.shape[:2], -1, LANES)
        kv_head = head // (len(self.q) // len(self.k))
        return Dots(format=Format.FP16, x=q[head, row, block], y=k[kv_head, entry, block])


@dataclass(frozen=True, kw_only=True)
class Mix(Source):
    """Probabilities by values: 64 consecutive entries of a row, one dimension.

    Parameters
    ----------
    p
        FP16 [heads, rows, entries], times 2**15, unnormalised, 0 where masked; entries a multiple
        of 64.
    v
        FP16 [kv_heads, entries, dims].
    exponents
        Largest biased exponent [kv_heads, entries, blocks of 64 dims].
    references
        Reference exponent [kv_heads, rows, blocks of 64 dims].
    last
        Position of each row [rows]; blocks of entries after it are all masked.
    dims
        Of a head; the rest is padding.
    """

    p: Bits16
    v: Bits16
    exponents: Ints
    references: Ints
    last: Indices
    dims: int

    @property
    def count(self) -> int:
        """Heads times dimensions times blocks of 64 entries up to each row's own."""
        return len(self.p) * self.dims * int((self.last // LANES + 1).sum())

    def sample(self, rng: np.random.Generator, n: int) -> Dots:
        """Choose head, row, block of 64 entries and dimension."""
        blocks = self.last // LANES + 1
        rows = np.repeat(np.arange(len(blocks)), blocks)
        block_of = np.concatenate([np.arange(count) for count in blocks])
        pick = rng.integers(0, len(rows), n)
        head, dim = rng.integers(0, len(self.p), n), rng.integers(0, self.dims, n)
        kv_head = head // (len(self.p) // len(self.v))
        row, column = rows[pick, None], block_of[pick, None] * LANES + np.arange(LANES)
        y_reference = self.exponents[kv_head[:, None], column, dim[:, None] // LANES]
        product = self.references[kv_head, rows[pick], dim // LANES] + PROBABILITY_REFERENCE
        x = self.p[head[:, None], row, column]
        # A lane that is masked aligns to anything: its probability is zero.
        return Dots(
            format=Format.FP16,
            x=x,
            y=self.v[kv_head[:, None], column, dim[:, None]],
            x_reference=product[:, None] - y_reference,
            y_reference=y_reference,
            product_reference=product,
        )
