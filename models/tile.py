"""A tile of tokens on its way through the model."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwroute.models.sequence import Sequence

Values = dict[str, NDArray[Any]]


@dataclass(kw_only=True)
class Tile:
    """Consecutive tokens on their way through the model.

    Parameters
    ----------
    tokens
        Token ids [n].
    start
        Position of the first one.
    sequence
        What they belong to.
    decode
        Whether the only token continues a generation.
    values
        Arrays by name; rows are tokens.
    rows
        Tokens that the rows of a value stand for, by name of the value.
    planes
        Bits [n] by name of the bitmask plane.
    """

    tokens: NDArray[np.int64]
    start: int
    sequence: Sequence
    decode: bool = False
    values: Values = field(default_factory=dict)
    rows: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    planes: dict[str, NDArray[np.bool_]] = field(default_factory=dict)

    def selected(self, predicate: str | None) -> NDArray[np.int64]:
        """Return the tokens of the tile for which a predicate holds."""
        every = np.arange(len(self.tokens))
        return every if predicate is None else every[self.planes[predicate]]

    def take(self, name: str, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Return the rows of a value that stand for the tokens `rows`."""
        have = self.rows[name]
        value = self.values[name]
        if len(have) == len(rows):
            return value
        return value[np.searchsorted(have, rows)]
