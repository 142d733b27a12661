"""One picture of the study: error by variant and data."""

from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from hwroute.models.study.measure import Cell, Final, spread
from hwroute.models.study.paper import printed
from hwroute.models.study.run import Study
from hwroute.models.study.variants import VARIANTS

STYLES = {
    "tree-22": ("#0072b2", "o"),
    "tree-15": ("#56b4e9", "s"),
    "cascaded-macs": ("#999999", "v"),
    "cascaded-overpacked": ("#666666", "^"),
    "aligned": ("#d55e00", "D"),
    "aligned-one-cascade": ("#e69f00", "X"),
    "aligned-24-kv": ("#cc79a7", "P"),
    "aligned-24-qp": ("#009e73", "*"),
}
"""Colour (a palette that colour-blind readers tell apart) and marker of each variant."""
WIDTH = 0.8
"""Of a group of markers; groups stand one apart."""


def draw(study: Study, *paths: Path) -> None:
    """Write the picture in the format of each path's suffix; the bytes depend on `study` alone."""
    figure = Figure(figsize=(12, 8.5), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True)
    cells = [*study.cells, study.rows]
    for position, cell in enumerate(cells):
        for index, key in enumerate(STYLES):
            x = position + WIDTH * ((index + 0.5) / len(STYLES) - 0.5)
            _sum_error(top, x, cell, key)
            _mean_error(bottom, x, cell, key)
        _conversion(top, position, cell)
    _label(
        top,
        len(cells),
        "sum |error| / sum |exact|, %",
        "Error of a column's own result (dashes: what rounding the exact sum to FP16 costs)",
    )
    _label(
        bottom,
        len(cells),
        "mean |error / exact|, %",
        "The paper's metric, after conversion to FP16 toward zero "
        "(bars: five seeds; black ticks: printed in the paper)",
    )
    names = [cell.name.replace(", ", "\n") for cell in cells]
    bottom.set_xticks(range(len(names)), names)
    bottom.set_xlim(-0.5, len(names) - 0.5)
    _legend(figure)
    with matplotlib.rc_context({"svg.hashsalt": "hwroute", "svg.fonttype": "none"}):
        for path in paths:
            dated = {"Date": None} if path.suffix == ".svg" else {}
            figure.savefig(path, dpi=150, metadata=dated)


def _sum_error(axes: Axes, x: float, cell: Cell, key: str) -> None:
    totals = cell.of(key, Final.NONE)
    if totals:
        colour, marker = STYLES[key]
        value = spread(total.sum_error_percent for total in totals)["mean"]
        axes.plot(x, value, marker=marker, color=colour, markersize=7, linestyle="none")


def _conversion(axes: Axes, position: int, cell: Cell) -> None:
    """Draw the error of the final conversion alone, to nearest even."""
    totals = cell.of("exact", Final.NEAREST_EVEN)
    value = spread(total.sum_error_percent for total in totals)["mean"]
    axes.plot(
        [position - 0.45, position + 0.45],
        [value, value],
        color="black",
        linewidth=1,
        dashes=(5, 3),
    )


def _mean_error(axes: Axes, x: float, cell: Cell, key: str) -> None:
    totals = cell.of(key, Final.TOWARD_ZERO)
    if totals:
        colour, marker = STYLES[key]
        found = spread(total.mean_relative_error_percent for total in totals)
        axes.plot([x, x], [found["min"], found["max"]], color=colour, linewidth=2)
        axes.plot(x, found["mean"], marker=marker, color=colour, markersize=7, linestyle="none")
    paper = printed(key, cell.name)
    if paper is not None:
        axes.plot(x, paper, marker="_", color="black", markersize=13, linestyle="none")


def _label(axes: Axes, groups: int, unit: str, title: str) -> None:
    axes.set_yscale("log")
    axes.set_ylabel(unit)
    axes.set_title(title, loc="left", fontsize=11)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.grid(axis="y", which="major", color="#dddddd")
    for boundary in range(1, groups):
        axes.axvline(boundary - 0.5, color="#dddddd", linewidth=1)
    axes.set_axisbelow(True)
    axes.tick_params(axis="x", length=0)


def _legend(figure: Figure) -> None:
    """Name the variants once, above both panels."""
    handles = [
        Line2D([], [], color=colour, marker=marker, linestyle="none", markersize=7)
        for colour, marker in STYLES.values()
    ]
    labels = {variant.key: variant.label for variant in VARIANTS}
    figure.legend(
        handles,
        [labels[key] for key in STYLES],
        loc="outside upper center",
        ncols=3,
        frameon=False,
    )
