"""When the ports of a memory moved data, for a timeline."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
NEAR = 1e-3
"""Cycles that sums of cycles may be off by."""


class Move(NamedTuple):
    """A stretch in which ports moved data.

    Parameters
    ----------
    start, end
        Cycles of the machine.
    ports
        How many moved data, on average over the stretch.
    """

    start: float
    end: float
    ports: float


class Moves:
    """Stretches, none of which overlap: what goes on at a rate is one, and what overlaps too."""

    def __init__(self) -> None:
        self._past: list[Move] = []
        # Most calls only prolong the last stretch, so that is kept apart.
        self._start = self._end = self._ports = 0.0

    def add(self, start: float, end: float, ports: float) -> None:
        """Note that so many ports moved data from `start` to `end`, on average."""
        if ports == self._ports and -NEAR < start - self._end < NEAR:
            self._end = end
        elif end > start:
            while self._ports and start < self._end - NEAR:
                start, end, ports = self._joined(start, end, ports)
            if self._ports:
                self._past.append(Move(self._start, self._end, self._ports))
            self._start, self._end, self._ports = start, end, ports

    def _joined(self, start: float, end: float, ports: float) -> Move:
        """Return one stretch of the last one, which is dropped, and another that overlaps it."""
        busy = ports * (end - start) + self._ports * (self._end - self._start)
        start, end = min(start, self._start), max(end, self._end)
        none = Move(0.0, 0.0, 0.0)
        self._start, self._end, self._ports = self._past.pop() if self._past else none
        return Move(start, end, busy / (end - start))

    def all(self) -> list[Move]:
        """Return every stretch, in order."""
        last = Move(self._start, self._end, self._ports)
        return [*self._past, last] if last.ports else self._past


def levels(moves: list[Move], most: int) -> tuple[Floats, Floats]:
    """Return times, ascending, and how many ports are busy from each on, the last time excepted.

    With more than `most` changes they are averaged over as many equal stretches.
    """
    if not moves:
        return np.zeros(1), np.zeros(1)
    table = np.array(moves)
    gaps = np.append(table[1:, 0] - table[:-1, 1] > NEAR, True)
    # Each begins, and ends where no other begins.
    times = np.sort(np.concatenate([table[:, 0], table[gaps, 1]]))
    busy = np.zeros(len(times))
    busy[np.searchsorted(times, table[:, 0])] = table[:, 2]
    if len(times) <= most:
        return times, busy
    work = np.concatenate([[0.0], np.cumsum(busy[:-1] * np.diff(times))])
    edges = np.linspace(times[0], times[-1], most)
    means = np.diff(np.interp(edges, times, work)) / np.diff(edges)
    return edges, np.append(means, 0.0)
