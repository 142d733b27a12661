"""Where the time goes: what each unit does, as a share of prefill and of decode."""

from pathlib import Path

from matplotlib.axes import Axes

from hwroute.program import Program
from hwroute.sim.performance.generation import Performance
from hwroute.sim.performance.pictures.style import (
    GREY,
    UNIT_COLOURS,
    UNIT_NAMES,
    name_rows,
    new_figure,
    part_rows,
    plain_axes,
    save,
)
from hwroute.sim.performance.pictures.work import IDLE, WAITING, cycles_by_work
from hwroute.sim.performance.result import Run

SMALL = 5e-4
"""Share of the time below which, in prefill and in decode, a row says too little to be drawn."""
PAUSES = (WAITING, IDLE)
Row = tuple[str, str]
"""Name of a unit, and its work."""


def shares(program: Program, runs: list[Run]) -> dict[Row, float]:
    """Return the share of the runs' time that each unit spends on each work, idle included."""
    total = sum(run.cycles for run in runs)
    found: dict[Row, float] = {}
    for run in runs:
        for unit, sums in cycles_by_work(program, run).items():
            for work, cycles in sums.items():
                row = UNIT_NAMES[unit], work
                found[row] = found.get(row, 0.0) + cycles / total
    return found


def draw_time(performance: Performance, folder: Path) -> list[Path]:
    """Draw a bar for each unit and kind of work, prefill beside decode."""
    program = performance.setup.program
    steps = list(performance.steps.values())
    panels = {f"prompt of {performance.setup.workload.prompt} tokens": [performance.prefill]}
    if steps:
        panels[f"decode, {len(steps)} steps simulated"] = steps
    found = {name: shares(program, runs) for name, runs in panels.items()}
    rows = _rows(list(found.values()))
    figure = new_figure(3 + 4 * len(panels), 1.3 + 0.215 * len(rows), performance)
    grid = figure.subplots(1, len(panels), sharey=True, sharex=True, squeeze=False)[0]
    for axes, (name, values) in zip(grid, found.items(), strict=True):
        _bars(axes, rows, values)
        axes.set_title(name, fontsize=10)
    name_rows(grid[0], rows, UNIT_COLOURS)
    return save(figure, folder, "time")


def _rows(panels: list[dict[Row, float]]) -> list[Row]:
    """Return the rows: units in a fixed order, in each the longest first, and last its pauses."""
    largest: dict[Row, float] = {}
    for values in panels:
        for row, share in values.items():
            largest[row] = max(largest.get(row, 0.0), share)
    units = list(UNIT_NAMES.values())

    def place(row: Row) -> tuple[int, int, float]:
        unit, work = row
        return units.index(unit), PAUSES.index(work) if work in PAUSES else -1, -largest[row]

    return sorted((row for row in largest if largest[row] >= SMALL), key=place)


def _bars(axes: Axes, rows: list[Row], values: dict[Row, float]) -> None:
    plain_axes(axes, grid="x")
    for place, (unit, work) in enumerate(rows):
        percent = 100 * values.get((unit, work), 0.0)
        pauses = work in PAUSES
        axes.barh(
            place,
            percent,
            height=0.72,
            color="white" if pauses else UNIT_COLOURS[unit],
            edgecolor=GREY if pauses else UNIT_COLOURS[unit],
            hatch="////" if work == WAITING else None,
        )
        text = f" {percent:.1f}" if percent >= 0.05 else " -"
        axes.text(percent, place, text, va="center", fontsize=8)
    part_rows(axes, rows)
    axes.set_xlim(0, 110)
    axes.set_xticks(range(0, 101, 20))
    axes.set_xlabel("share of the time, %")
