"""The Pareto front of a sweep: which points no other one beats in throughput and in cost."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from hwroute.errors import InputError, nearest
from hwroute.sim.performance.pictures.style import BLUE, GREY, LIGHT, plain_axes, plain_figure, save

Row = Mapping[str, Any]
WORDS = {
    "skip": "share of sub-layers skipped",
    "tokens_per_second": "token/s in decode",
    "tokens_per_second_with_prefill": "token/s, the prompt's time counted",
    "bytes_per_token": "bytes read for a token",
    "prefill_seconds": "time of the prompt, s",
    "decode_seconds": "time of decode, s",
    "bandwidth_efficiency": "bytes read from HBM, share of the peak",
    "overlay.multipliers": "multipliers",
    "overlay.hbm_ports": "ports of HBM",
    "overlay.kv_buffer_bytes": "history buffer, bytes",
}
"""What axes call columns; others have the column's own name."""
NAMED = 20
"""Points of the front that the picture names, the cheapest first."""


def front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Return the indices of the points that no other one beats, the cheapest first.

    Parameters
    ----------
    points
        Cost, of which less is better, and gain, of which more is. A point is beaten by one that is
        at least as good in both and better in one; of points that are alike the first one stays.
    """
    found: list[int] = []
    order = sorted(range(len(points)), key=lambda one: (points[one][0], -points[one][1], one))
    for index in order:
        if not found or points[index][1] > points[found[-1]][1]:
            found.append(index)
    return found


def pareto(
    rows: Sequence[Row],
    folder: Path,
    *,
    options: Sequence[str],
    cost: str,
    gain: str = "tokens_per_second",
) -> list[Path]:
    """Draw the points of a sweep and their front, and return the files.

    Parameters
    ----------
    rows
        One a point; those without a figure in both columns (bad points) are left away.
    folder
        Where pareto.png and pareto.svg go.
    options
        Columns that say what a point is, with which those of the front are named.
    cost, gain
        Columns with the figures: of the first less is better, of the second more.

    Raises
    ------
    InputError
        No row has a figure in both columns, or the folder cannot be written.
    """
    drawn = [row for row in rows if _is_figure(row.get(cost)) and _is_figure(row.get(gain))]
    if not drawn:
        known = sorted({name for row in rows for name in row if _is_figure(row[name])})
        wanted = cost if cost not in known else gain
        raise InputError(
            f"sweep must have points with figures in {cost} and {gain}{nearest(wanted, known)}"
        )
    points = [(float(row[cost]), float(row[gain])) for row in drawn]
    best = front(points)
    figure = plain_figure(10, 5)
    axes = figure.subplots()
    plain_axes(axes)
    axes.grid(color=LIGHT)
    axes.set_axisbelow(True)
    axes.plot(*zip(*points, strict=True), "o", color=GREY, markersize=5, label="point")
    _front(axes, [points[index] for index in best])
    names = _names([drawn[index] for index in best], drawn, options)
    axes.locator_params(axis="x", nbins=7)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:,g}")
    axes.set_xlabel(WORDS.get(cost, cost))
    axes.set_ylabel(WORDS.get(gain, gain))
    axes.set_title(f"{len(best)} of {len(drawn)} points are on the front", loc="left", fontsize=10)
    _legend(axes, names)
    return save(figure, folder, "pareto")


def _is_figure(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _front(axes: Axes, points: list[tuple[float, float]]) -> None:
    """Draw the front as steps, and number its points."""
    costs, gains = zip(*points, strict=True)
    axes.step(costs, gains, where="post", color=BLUE, linewidth=1.2)
    axes.plot(costs, gains, "o", color=BLUE, markersize=7)
    for number, place in enumerate(points[:NAMED], start=1):
        axes.annotate(
            str(number), place, xytext=(-3, 6), textcoords="offset points", ha="right", fontsize=9
        )


def _names(best: Sequence[Row], rows: Sequence[Row], options: Sequence[str]) -> list[str]:
    """Return what tells the points of the front from the others."""
    vary = [name for name in options if len({str(row.get(name)) for row in rows}) > 1]
    return [", ".join(f"{name} {row.get(name)}" for name in vary) for row in best]


def _legend(axes: Axes, names: list[str]) -> None:
    """List the points of the front beside the picture."""
    lines = [f"{number}: {name}" for number, name in enumerate(names[:NAMED], start=1)]
    if len(names) > NAMED:
        lines.append(f"and {len(names) - NAMED} more")
    axes.text(
        1.02,
        1,
        "\n".join(lines),
        transform=axes.transAxes,
        va="top",
        fontsize=8,
        linespacing=1.5,
    )
