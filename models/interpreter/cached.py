"""Ranges of memory that somebody keeps a copy of."""

import numpy as np
from numpy.typing import NDArray


class Cached:
    """A range of memory of which somebody keeps a copy in another form.

    Members
    -------
    stale
        Whether it was written since.
    """

    def __init__(self) -> None:
        self._start, self._stop = 0, 0
        self.stale = False

    def add(self, start: int, count: int) -> None:
        """Widen the range by `count` places from `start` on."""
        if self._start == self._stop:
            self._start = start
        self._start, self._stop = min(self._start, start), max(self._stop, start + count)

    def written(self, places: NDArray[np.int64]) -> None:
        """Note that places were written."""
        if ((places >= self._start) & (places < self._stop)).any():
            self.stale = True
