"""What random instructions are written with: chance, places that are free, labels, registers."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import TypeVar

from hwroute.isa.fields import QUEUED, Register, Unit
from hwroute.isa.instruction import Instruction, unit_mask
from hwroute.isa.table import BY_NAME
from hwroute.sim.random_programs.setting import FP16, Setting

T = TypeVar("T")
ALL = unit_mask(QUEUED)
GROUPS = 4
"""Places in the statistics for a sum of squares and two logits."""
PASSES = 2
"""Places in the statistics for a pass over entries."""
TRIES = 20
"""Places that are tried before all free ones are looked for."""
HEADS, HEAD_LINES = 4, 2
"""Most query heads of a pass, and most lines of a head."""


@dataclass(eq=False)
class Label:
    """A place in the Program, known once it is put."""

    index: int = -1


@dataclass
class _Line:
    name: str
    values: dict[str, int]
    target: Label | None


@dataclass
class Writer:
    """A Program while it is written.

    Parameters
    ----------
    setting, random
        What for, and what decides.

    Members
    -------
    rows, position
        What these registers hold; `position` is the largest it may be in a loop.
    planes
        Planes that hold a bit for each row of the tile.
    known
        Values of the free registers, where they are known.
    pitch
        Words from one value of a row in the statistics to its next.
    """

    setting: Setting
    random: Random
    rows: int = 0
    position: int = 0
    planes: set[int] = field(default_factory=set)
    known: dict[Register, int] = field(default_factory=dict)
    pitch: int = 1

    def __post_init__(self) -> None:
        self.pitch = self.setting.tile + self.random.randrange(3)
        self._lines: list[_Line] = []

    def chance(self, probability: float) -> bool:
        """Return True as often as said."""
        return self.random.random() < probability

    def choose(self, choices: Sequence[T]) -> T:
        """Return one of some."""
        return self.random.choice(choices)

    def upto(self, largest: int) -> int:
        """Return a number from 1 to the largest."""
        return self.random.randint(1, largest)

    def choice(self, name: str, field_name: str, choice: str) -> int:
        """Return the number of a choice of a field of an instruction."""
        return BY_NAME[name].by_name[field_name].choices.index(choice)

    def emit(self, name: str, **values: int) -> None:
        """Append an instruction."""
        self._lines.append(_Line(name, values, None))

    def go(self, name: str, target: Label, **values: int) -> None:
        """Append an instruction that may go on at a label."""
        self._lines.append(_Line(name, values, target))

    def put(self, label: Label, wait: int = 0) -> None:
        """Put a label here: on a ``sync``."""
        label.index = len(self._lines)
        self.emit("sync", wait=wait)

    def set_rows(self, rows: int) -> None:
        """Set the number of rows; planes no longer hold what they should."""
        self.emit("set", d=Register.ROWS, value=rows)
        self.rows = rows
        self.planes = set()

    def plane(self) -> int:
        """Return a plane for an instruction of a unit."""
        return self.choose(sorted(self.planes)) if self.planes and self.chance(0.6) else 0

    def place(self, size: int, pool: range = FP16, *, beside: Sequence[range] = ()) -> range:
        """Return lines of a pool that no operand in `beside` uses."""
        last = pool.stop - size
        for _ in range(TRIES):
            start = self.random.randint(pool.start, last)
            if _is_free(start, size, beside):
                return range(start, start + size)
        starts = [one for one in range(pool.start, last + 1) if _is_free(one, size, beside)]
        start = self.choose(starts)
        return range(start, start + size)

    def matrix(
        self,
        name: str,
        lines: int,
        pool: range = FP16,
        *,
        beside: Sequence[range] = (),
        written: bool = False,
    ) -> tuple[range, dict[str, int]]:
        """Return the place of a matrix and its fields; rows that are written lie apart."""
        pitch = lines + self.random.randrange(2)
        if not written and self.chance(0.15):
            pitch = self.random.randrange(lines + 1)
        place = self.place((self.setting.tile - 1) * pitch + lines, pool, beside=beside)
        return place, {name: place.start, f"{name}_pitch": pitch}

    def group(self) -> int:
        """Return the first word of a sum of squares and two logits."""
        return 3 * self.pitch * self.random.randrange(GROUPS)

    def pass_words(self, index: int) -> tuple[int, int]:
        """Return the words of maxima and of sums of a pass."""
        sums = HEADS * (1 + HEAD_LINES)
        start = (3 * GROUPS + index * (sums + HEADS)) * self.pitch
        return start, start + sums * self.pitch

    def instructions(self) -> tuple[Instruction, ...]:
        """Return the instructions, without tokens."""
        found = []
        for line in self._lines:
            values = {name: int(value) for name, value in line.values.items()}
            if line.target is not None:
                values["target"] = line.target.index
            if line.name == "branch.empty":
                values["wait"] = unit_mask([Unit.ROUTER])
            found.append(Instruction(line.name, values))
        return tuple(found)


def _is_free(start: int, size: int, beside: Sequence[range]) -> bool:
    return all(start >= used.stop or start + size <= used.start for used in beside)
