"""Tiles of K and V in the array: the loader that fills them, and the beats that use them.

As `hwroute.rtl.values_tiles`, `hwroute.rtl.kernel_loader` and `hwroute.rtl.tile_queue`: a line of
each source of a batch makes a tile, of as many beats of the loader as there are groups of sources;
a place is free again `life` cycles after the last beat that uses its tile.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from hwroute import timing
from hwroute.rtl.column_ports import ColumnShape

FEW = 4
"""Lines of a batch that are always looked at one by one."""


class Arrival(NamedTuple):
    """When lines come of some sources: the first and the last line of the slowest of them."""

    first: float
    last: float


NEVER = Arrival(0.0, 0.0)
"""Of sources that bring nothing: none waits for them."""


@dataclass(frozen=True, kw_only=True)
class Lines:
    """The lines of a batch.

    Parameters
    ----------
    units
        Beats of x for each line, of V for each of its parts.
    groups
        When lines come, for each of the loader's beats.
    period, tail
        Cycles in which a source makes the next line once one was taken, and in which it passes what
        follows the lines.
    value, head_lines
        Of V, not of K; lines of K whose products add to the same row.
    """

    units: Sequence[int]
    groups: Sequence[Arrival]
    period: float
    tail: float
    value: bool
    head_lines: int


class Tiles:
    """The places for tiles, from an idle array on.

    Parameters
    ----------
    shape
        Of the array.
    start
        Before which no line is taken.

    Members
    -------
    taken
        When the array may take the next beat of x.
    loaded
        When the last line was taken from the sources.
    """

    def __init__(self, shape: ColumnShape, start: float = 0.0):
        self.shape = shape
        self.taken = self.loaded = 0.0
        self._life = timing.array_column_cycles(aligned=shape.aligned)
        # When the loader took its last beat.
        self._loads = start
        # When the next line of a group's sources can be there at the earliest.
        self._sources = [0.0] * shape.columns
        self._popped: deque[float] = deque([-float(self._life)] * shape.tiles, maxlen=shape.tiles)

    def batch(self, lines: Lines) -> float:
        """Take a batch; return when its first line is taken."""
        parts = self.shape.parts if lines.value else 1
        loads, least = len(lines.groups) * parts, min(lines.units) * parts
        fill = timing.kernel_cycles(parts, aligned=self.shape.aligned)
        way = loads + fill + max(lines.units) * parts + self._life
        # Where a place is never waited for, lines need not be looked at one by one.
        if len(lines.units) > FEW and way <= self.shape.tiles * max(loads, least):
            return self._block(lines, parts, fill)
        began, before, behind = -1.0, 0.0, max(1, len(lines.units) - 1)
        for number, count in enumerate(lines.units):
            free = self._popped[0] + self._life
            for group, (first, last) in enumerate(lines.groups):
                # A beat is put together when the one before is taken; it waits for its own sources.
                move = self._loads
                if last:
                    come = first + number * (last - first) / behind
                    move = max(move, come, self._sources[group])
                self._sources[group] = move + lines.period
                self._loads = max(move + 1, self._loads + parts, free)
                free = 0.0
                began = move if began < 0 else began
            self.loaded = move
            start = max(self._loads + fill, self.taken)
            if number and not lines.value and number % lines.head_lines:
                start = max(start, before + timing.ARRAY_BEAT_DISTANCE)
            before = start
            self.taken = start + count * parts
            self._popped.append(self.taken - 1)
        for group in range(len(lines.groups)):
            self._sources[group] += lines.tail
        return began

    def _block(self, lines: Lines, parts: int, fill: int) -> float:
        """Take a batch whose lines are alike."""
        units, count, loads = lines.units, len(lines.units), len(lines.groups) * parts
        beats = parts * sum(units)
        if not lines.value and lines.head_lines > 1:
            near = [max(loads, one) for one in units]
            apart = [max(one, timing.ARRAY_BEAT_DISTANCE) for one in near]
            beats = sum(apart) + sum(near[:: lines.head_lines]) - sum(apart[:: lines.head_lines])
        tiles, pops = self.shape.tiles, self._popped
        load, rest = max(self._loads + parts, pops[0] + self._life), 0.0
        for group, (first, last) in enumerate(lines.groups):
            if last:
                load = max(load, first + 1, self._sources[group] + 1)
                rest = max(rest, last + 1 + loads - group * parts)
            load += parts
        start, each = max(self.taken, load - parts + fill), beats / count
        # The place of the last line.
        place = pops[count - 1] if count <= tiles else start + (count - tiles) * each - 1
        ends = max(load + loads * (count - 1), rest, place + self._life + loads)
        self.taken = max(start + beats, ends - parts + fill + units[-1] * parts)
        pops.extend(self.taken - 1 - late * each for late in range(min(count, tiles) - 1, -1, -1))
        for group in range(len(lines.groups)):
            taken = ends - loads + group * parts - 1
            self._sources[group] = taken + lines.period + lines.tail
        self._loads = ends - parts
        self.loaded = self._loads - (parts if len(lines.groups) > 1 else 1)
        return load - loads
