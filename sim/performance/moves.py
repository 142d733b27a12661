"""When the ports of a memory moved data, for a timeline."""

from typing import NamedTuple

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
    """Stretches in the order in which they were asked for; what goes on at a rate is one."""

    def __init__(self) -> None:
        self._past: list[Move] = []
        # Most calls only prolong the last stretch, so that is kept apart.
        self._start = self._end = self._ports = 0.0

    def add(self, start: float, end: float, ports: float) -> None:
        """Note that so many ports moved data from `start` to `end`."""
        if ports == self._ports and -NEAR < start - self._end < NEAR:
            self._end = end
        elif end > start:
            self._past += self._last()
            self._start, self._end, self._ports = start, end, ports

    def _last(self) -> list[Move]:
        last = Move(self._start, self._end, self._ports)
        return [last] if last.ports else []

    def all(self) -> list[Move]:
        """Return every stretch."""
        return self._past + self._last()
