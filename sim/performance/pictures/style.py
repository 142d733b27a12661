"""How all pictures of the performance model look, and how they are saved."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hwroute.isa.fields import Unit
from hwroute.picture import save_picture
from hwroute.sim.performance.generation import Performance

BLUE, SKY, GREEN, YELLOW = "#0072b2", "#56b4e9", "#009e73", "#e69f00"
RED, PINK, GREY, LIGHT = "#d55e00", "#cc79a7", "#777777", "#dddddd"
"""A palette that colour-blind readers tell apart (Okabe and Ito), and two greys."""

UNIT_NAMES = {
    Unit.ARRAY: "array",
    Unit.NPE: "NPE",
    Unit.ROUTER: "router",
    Unit.KV: "KV unit",
    Unit.DMA: "DMA",
}
"""What pictures call the units, in the order in which they have them."""

UNIT_COLOURS = dict(zip(UNIT_NAMES.values(), (BLUE, GREEN, PINK, YELLOW, SKY), strict=True))
"""By the unit's name."""

PIXELS_AN_INCH = 130


def plain_figure(width: float, height: float) -> Figure:
    """Return an empty figure of so many inches."""
    return Figure(figsize=(width, height), dpi=PIXELS_AN_INCH)


def new_figure(width: float, height: float, performance: Performance) -> Figure:
    """Return a figure of so many inches that says on top of what it is."""
    setup = performance.setup
    program, workload = setup.program, setup.workload
    attention, ffn = workload.skipped
    figure = plain_figure(width, height)
    figure.suptitle(
        f"{program.model} on {setup.device.name} ({program.config.name}): prompt of "
        f"{workload.prompt}, {workload.generate} generated, skipped {attention:.1%} of attention "
        f"and {ffn:.1%} of FFN",
        x=0.01,
        ha="left",
        fontsize=9,
        color=GREY,
    )
    return figure


def plain_axes(axes: Axes, *, grid: Literal["x", "y"] | None = None) -> None:
    """Leave away what says nothing: the upper and right edge; a light grid along `grid`."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    if grid:
        axes.grid(axis=grid, color=LIGHT)
        axes.set_axisbelow(True)


def name_rows(axes: Axes, rows: Sequence[tuple[str, str]], colours: Mapping[str, str]) -> None:
    """Name horizontal bars: each row's name, and its group at the group's first row.

    Parameters
    ----------
    axes
        The leftmost; row 0 is on top.
    rows
        Group and name of each row.
    colours
        Of each group.
    """
    axes.set_yticks(range(len(rows)), [name for _, name in rows], fontsize=9)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    for place, (group, _) in enumerate(rows):
        if not place or rows[place - 1][0] != group:
            axes.annotate(
                group,
                (0, place),
                xytext=(-165, 0),
                xycoords=("axes fraction", "data"),
                textcoords="offset points",
                fontsize=9,
                fontweight="bold",
                va="center",
                color=colours[group],
            )


def part_rows(axes: Axes, rows: Sequence[tuple[str, str]]) -> None:
    """Draw a line between groups of rows."""
    axes.tick_params(axis="y", length=0)
    for place in range(1, len(rows)):
        if rows[place][0] != rows[place - 1][0]:
            axes.axhline(place - 0.5, color=LIGHT, linewidth=1)


def save(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Write NAME.png and NAME.svg, and return their paths; the bytes depend on the figure alone.

    Raises
    ------
    InputError
        The folder cannot be written.
    """
    paths = [folder / f"{name}{suffix}" for suffix in (".png", ".svg")]
    for path in paths:
        save_picture(figure, path)
    return paths
