"""Which lines of K and V a scores or values instruction goes through, and how often."""

from dataclasses import dataclass

from hwroute.config import Config
from hwroute.isa.instruction import Instruction
from hwroute.rtl.column_ports import ColumnShape
from hwroute.rtl.scores_layouts import PAIRS


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Lines of the K or V of every entry, for some (row, query head) pairs.

    Parameters
    ----------
    value
        Of V, not of K.
    line, lines
        First line of the vector, and lines.
    rows
        Of a pass of scores; of values all.
    units
        Of each line, the beats of x that use its tile, for each of its parts.
    """

    value: bool
    line: int
    rows: int
    units: tuple[int, ...]

    @property
    def lines(self) -> int:
        """Number of lines."""
        return len(self.units)


def sweeps_of(one: Instruction, rows: int, config: Config) -> list[Sweep]:
    """Return the sweeps of a scores or values instruction over `rows` rows.

    Those of values are cut as `hwroute.rtl.values_passes` cuts them: as many lines as fit the
    accumulator rows with all their units; of a line that does not fit alone, as many units. Those
    of scores have all lines, and as many rows as there is room for.
    """
    queries, head_lines = one["queries"], one["head_lines"]
    heads = [head // queries for head in range(one["first"], one["first"] + one["heads"])]
    line = heads[0] * head_lines
    groups = [
        heads.count(head) for head in range(heads[0], heads[-1] + 1) for _ in range(head_lines)
    ]
    if one.name == "scores":
        at_once = min(PAIRS // len(heads), PAIRS // len(groups))
        if head_lines > 1:
            at_once = min(at_once, config.array.accumulator_rows // max(groups))
        passes = [min(at_once, rows - row) for row in range(0, rows, at_once)]
        return [
            Sweep(value=False, line=line, rows=part, units=tuple(part * group for group in groups))
            for part in passes
        ]
    units = [rows * group for group in groups]
    slots = config.array.accumulator_rows // ColumnShape.of(config).parts
    sweeps, start = [], 0
    while start < len(units):
        stop = start
        while stop < len(units) and sum(units[start : stop + 1]) <= slots:
            stop += 1
        if stop > start:
            parts = [tuple(units[start:stop])]
        else:
            stop = start + 1
            parts = [(min(slots, units[start] - at),) for at in range(0, units[start], slots)]
        sweeps += [Sweep(value=True, line=line + start, rows=rows, units=part) for part in parts]
        start = stop
    return sweeps
