"""A layer of a decode step in time: what each unit works on, and how busy the memories are."""

from pathlib import Path

from matplotlib.axes import Axes

from hwroute.isa.fields import Unit
from hwroute.sim.performance.busy import Stretch, stretches
from hwroute.sim.performance.generation import Performance
from hwroute.sim.performance.moves import Move, levels
from hwroute.sim.performance.pictures.style import (
    GREY,
    UNIT_NAMES,
    new_figure,
    plain_axes,
    save,
)
from hwroute.sim.performance.pictures.work import WORK_COLOURS, work_of
from hwroute.sim.performance.result import Run

MARGIN = 0.03
"""Of the layer's time, that is drawn before and after it."""
LETTER = 0.009
"""Share of the picture that a letter takes: where a bar has its name in it."""
MOST_CHANGES = 700
"""Of the curves."""
Window = tuple[float, float]


def layer_window(performance: Performance, run: Run) -> tuple[int, Window] | None:
    """Return the layer nearest to the middle that executes both sub-layers, and its cycles."""
    operations = performance.setup.program.operations
    spans: dict[int, dict[str, list[float]]] = {}
    for event in run.events:
        parts = operations[event.index].split(".")
        if parts[0] == "layers" and event.unit is Unit.ARRAY:
            span = spans.setdefault(int(parts[1]), {}).setdefault(parts[2], [])
            span += [event.issued, event.retired]
    middle = len(performance.setup.workload.executed) / 2
    whole = [layer for layer, kinds in spans.items() if len(kinds) > 1]
    if not whole:
        return None
    layer = min(whole, key=lambda one: (abs(one - middle), one))
    cycles = [cycle for span in spans[layer].values() for cycle in span]
    return layer, (min(cycles), max(cycles))


def draw_timeline(performance: Performance, folder: Path) -> list[Path]:
    """Draw a layer in the middle of the last step; nothing where no layer executes both parts."""
    last = max(performance.steps, default=None)
    found = None if last is None else layer_window(performance, performance.steps[last])
    if last is None or found is None:
        return []
    run, (layer, (first, end)) = performance.steps[last], found
    margin = MARGIN * (end - first)
    window = first - margin, end + margin
    figure = new_figure(12, 5.6, performance)
    heights = {"height_ratios": (1, 1, 3)}
    hbm, ddr, units = figure.subplots(3, 1, sharex=True, gridspec_kw=heights)
    scale = 1e6 / performance.hertz
    ports = performance.setup.program.config.kv.hbm_ports
    _curve(hbm, run.hbm_moves, window, scale, ports)
    hbm.set_ylabel("HBM ports\nbusy")
    hbm.set_title(f"token {last}, layer {layer}", loc="left", fontsize=10)
    _curve(ddr, run.ddr_moves, window, scale, 1)
    ddr.set_ylabel("DDR port\nbusy")
    _units(units, performance, run, window)
    units.set_xlabel("time in the step, µs")
    units.set_xlim(window[0] * scale, window[1] * scale)
    return save(figure, folder, "timeline")


def _curve(axes: Axes, moves: list[Move], window: Window, scale: float, ports: int) -> None:
    """Draw how many ports are busy."""
    plain_axes(axes, grid="y")
    inside = [move for move in moves if move.end > window[0] and move.start < window[1]]
    times, values = levels(inside, MOST_CHANGES)
    axes.fill_between(times * scale, values, step="post", color=GREY, linewidth=0)
    axes.set_ylim(0, 1.05 * ports)
    axes.set_yticks([0, ports / 2, ports])
    axes.yaxis.set_major_formatter("{x:g}")


def _units(axes: Axes, performance: Performance, run: Run, window: Window) -> None:
    """Draw a row for each unit."""
    plain_axes(axes)
    found = stretches(run)
    for row, unit in enumerate(UNIT_NAMES):
        parts = [part for part in found[unit] if window[0] < part.end and part.start < window[1]]
        _bars(axes, row, parts, performance, window)
    axes.set_yticks(range(len(UNIT_NAMES)), UNIT_NAMES.values())
    axes.set_ylim(len(UNIT_NAMES) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)


def _bars(
    axes: Axes, row: int, parts: list[Stretch], performance: Performance, window: Window
) -> None:
    """Draw the bars of a unit, and their names where there is room."""
    scale, program = 1e6 / performance.hertz, performance.setup.program
    # Instructions of one product stand side by side and have one name.
    spans: dict[tuple[str, int], Window] = {}
    for part in parts:
        start, end = max(part.start, window[0]), min(part.end, window[1])
        axes.barh(
            row,
            (end - start) * scale,
            left=start * scale,
            height=0.7,
            color=WORK_COLOURS.get(work_of(program, part.event), GREY),
            edgecolor="white",
            linewidth=0.3,
        )
        index, key = part.event.index, (part.event.name, part.event.index)
        if part.event.unit is Unit.ARRAY:
            key = program.operations[index], 0
        spans[key] = spans.get(key, (start, end))[0], end
    for (whole, _), (start, end) in spans.items():
        name = whole.split(".")[-1]
        if end - start >= LETTER * (len(name) + 1) * (window[1] - window[0]):
            place = (start + end) / 2 * scale
            axes.text(place, row, name, ha="center", va="center", fontsize=8, color="white")
