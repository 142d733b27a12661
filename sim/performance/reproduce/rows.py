"""Rows of a comparison: what the paper prints beside what we get."""

from dataclasses import dataclass, field
from typing import Any

from hwroute.sim.performance.reproduce.paper import Figure

TOLERANCE = 0.05
"""Difference from which on a row says why."""


def paragraphs(text: str) -> tuple[str, ...]:
    """Return the paragraphs of a text, each as one line; an empty line is between two."""
    return tuple(" ".join(part.split()) for part in text.split("\n\n") if part.strip())


@dataclass(frozen=True, kw_only=True)
class Row:
    """One quantity.

    Parameters
    ----------
    what, unit
        Quantity and unit.
    ours, paper
        Values; None where there is none.
    place
        Where the paper prints its value.
    reason
        Why ours is another, as far as we can tell; said from `TOLERANCE` on.
    note
        What a reader must know about either, always said.
    """

    what: str
    unit: str
    ours: float | None = None
    paper: float | None = None
    place: str = ""
    reason: str = ""
    note: str = ""

    @classmethod
    def of(cls, figure: Figure, ours: float | None, *, reason: str = "", note: str = "") -> "Row":
        """Return ours beside a figure of the paper."""
        return cls(
            what=figure.what,
            unit=figure.unit,
            ours=ours,
            paper=figure.value,
            place=figure.place,
            reason=reason,
            note=note,
        )

    @property
    def difference(self) -> float | None:
        """Ours over the paper's, less 1."""
        return self.ours / self.paper - 1 if self.ours is not None and self.paper else None

    @property
    def differs(self) -> bool:
        """The difference is one that needs a reason."""
        return self.difference is not None and abs(self.difference) > TOLERANCE

    @property
    def remark(self) -> str:
        """What is said of the row."""
        parts = [self.note, self.reason if self.differs else ""]
        return "; ".join(part for part in parts if part)

    def fields(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "what": self.what,
            "unit": self.unit,
            "paper": self.paper,
            "ours": self.ours,
            "difference": self.difference,
            "place": self.place,
            "note": self.note,
            "reason": self.reason if self.differs else "",
        }


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the comparison.

    Parameters
    ----------
    name, title
        As the command line calls it; what it shows.
    about
        What was run, on which assumptions: paragraphs of one line.
    rows
        In order.
    findings
        What follows from the rows: lines.
    """

    name: str
    title: str
    about: tuple[str, ...]
    rows: tuple[Row, ...]
    findings: tuple[str, ...] = field(default=())

    def fields(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "name": self.name,
            "title": self.title,
            "about": list(self.about),
            "rows": [row.fields() for row in self.rows],
            "findings": list(self.findings),
        }
