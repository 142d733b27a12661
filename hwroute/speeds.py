"""Figures of a bench: the median of several runs with its smallest and largest value."""

import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from hwroute import provenance

PAGE = """# {title}

Written by `{command}`.

Nothing passes or fails. Median, smallest and largest of {runs} runs; of rates more is
asked, of times less.

| what | unit | median | smallest | largest | asked |
| --- | --- | ---: | ---: | ---: | ---: |
{rows}
"""


@dataclass(frozen=True, kw_only=True)
class Speed:
    """One figure.

    Parameters
    ----------
    name, unit
        What is measured.
    asked
        The bar, in `unit`; a rate is to be above it, a time below.
    median, smallest, largest
        Of the runs.
    """

    name: str
    unit: str
    asked: float
    median: float
    smallest: float
    largest: float

    def __str__(self) -> str:
        return (
            f"{self.name:<46} {self.median:8.2f} {self.unit:<9} "
            f"({self.smallest:.2f} to {self.largest:.2f}, asked {self.asked:g})"
        )


def speed_of(name: str, unit: str, asked: float, figures: Sequence[float]) -> Speed:
    """Return one figure of what several runs gave."""
    return Speed(
        name=name,
        unit=unit,
        asked=asked,
        median=statistics.median(figures),
        smallest=min(figures),
        largest=max(figures),
    )


def seconds(work: Callable[[], object]) -> float:
    """Return the wall time of some work."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def write_speeds(
    found: Sequence[Speed], out: Path, *, name: str, title: str, command: str, runs: int
) -> None:
    """Write figures as ``NAME.md`` and ``NAME.json`` into a folder, made if missing.

    Parameters
    ----------
    found, runs
        Figures, and of how many runs they are.
    out, name
        Folder, and the files' name in it.
    title, command
        Of the page; the command that writes it.
    """
    rows = [
        f"| {speed.name} | {speed.unit} | {speed.median:,.2f} | {speed.smallest:,.2f} | "
        f"{speed.largest:,.2f} | {speed.asked:,g} |"
        for speed in found
    ]
    record = {
        "speeds": [asdict(speed) for speed in found],
        "provenance": provenance.collect(command=sys.argv, seed=1),
    }
    out.mkdir(parents=True, exist_ok=True)
    page = PAGE.format(title=title, command=command, runs=runs, rows="\n".join(rows))
    (out / f"{name}.md").write_text(page, encoding="utf-8")
    (out / f"{name}.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
