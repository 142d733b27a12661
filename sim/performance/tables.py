"""Where time and bytes of a generation go, as tables."""

import csv
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from hwroute.isa.fields import QUEUED
from hwroute.sim.performance.breakdown import WAITING, array_cycles, operation_kinds
from hwroute.sim.performance.generation import Performance
from hwroute.sim.performance.metrics import utilization

Value = str | int | float


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of figures.

    Parameters
    ----------
    name, title
        Of its file, and what it shows.
    columns
        Heads of the columns, each with its unit; the first one names the rows.
    formats
        How a person reads the figures of each column but the first.
    rows
        Lines, in order; an empty text where there is no figure.
    """

    name: str
    title: str
    columns: tuple[str, ...]
    formats: tuple[str, ...]
    rows: list[tuple[Value, ...]]

    def text(self) -> str:
        """Return it as lines for a person."""
        from rich.box import SIMPLE
        from rich.console import Console
        from rich.table import Table as Drawn

        drawn = Drawn(
            title=self.title, title_justify="left", title_style="", box=SIMPLE, expand=False
        )
        for column in self.columns:
            drawn.add_column(column, justify="left" if column == self.columns[0] else "right")
        for first, *figures in self.rows:
            pairs = zip(figures, self.formats, strict=True)
            drawn.add_row(
                str(first), *("" if one == "" else format(one, how) for one, how in pairs)
            )
        console = Console(file=StringIO(), width=100, color_system=None)
        with console.capture() as lines:
            console.print(drawn)
        return "\n".join(line.rstrip() for line in lines.get().splitlines() if line.strip())

    def write(self, folder: Path) -> None:
        """Write it as a CSV file of its name."""
        with (folder / f"{self.name}.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([self.columns, *self.rows])


def tables(result: Performance) -> list[Table]:
    """Return what the array works on, what moves and what is used."""
    return [time_table(result), bytes_table(result), use_table(result)]


def time_table(result: Performance) -> Table:
    """Return the time of the prompt and of a token by what the array works on."""
    kinds = operation_kinds(result.setup.program)
    prompt = array_cycles(result.prefill, kinds)
    decode = result.totals(lambda run: array_cycles(run, kinds))
    whole, total = result.prefill_seconds, result.decode_seconds
    micro = 1e6 / result.hertz / max(1, len(result.cycles))
    rows: list[tuple[Value, ...]] = [
        (
            kind,
            prompt.get(kind, 0.0) / result.hertz * 1e3,
            prompt.get(kind, 0.0) / result.hertz / whole,
            decode.get(kind, 0.0) * micro,
            decode.get(kind, 0.0) / result.hertz / total if total else 0.0,
        )
        for kind in dict.fromkeys([*kinds, WAITING])
        if kind in prompt or kind in decode
    ]
    return Table(
        name="time",
        title="What the array works on",
        columns=("operation", "prompt, ms", "share", "a token, us", "share of decode"),
        formats=(".3f", ".1%", ".2f", ".1%"),
        rows=rows,
    )


def bytes_table(result: Performance) -> Table:
    """Return the bytes of the prompt and of a token by kind."""
    prompt, decode = result.prefill.traffic.kinds, result.traffic.kinds
    steps = max(1, len(result.cycles))
    return Table(
        name="bytes",
        title="What moves",
        columns=("bytes", "prompt, MB", "a token, MB"),
        formats=(",.3f", ",.3f"),
        rows=[
            (kind, prompt.get(kind, 0) / 1e6, decode.get(kind, 0) / steps / 1e6)
            for kind in sorted({*prompt, *decode})
        ],
    )


def use_table(result: Performance) -> Table:
    """Return how much of the decode time each unit and memory works or is waited for."""
    total = max(1.0, float(result.cycles.sum()))
    waits = result.totals(lambda run: {unit.name.lower(): run.waits()[unit] for unit in QUEUED})
    return Table(
        name="use",
        title="What is used in decode",
        columns=("resource", "used", "next instruction waits"),
        formats=(".1%", ".1%"),
        rows=[
            (name, share, waits[name] / total if name in waits else "")
            for name, share in utilization(result).items()
        ],
    )
