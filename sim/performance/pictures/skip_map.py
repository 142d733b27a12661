"""The skip map: which token executes which sub-layer, layer by token."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from hwroute.sim.performance.generation import Performance
from hwroute.sim.performance.interpolation import effective
from hwroute.sim.performance.pictures.style import GREY, new_figure, plain_axes, save
from hwroute.skip_picture import EXECUTED, SKIPPED

NAMES = ("attention", "FFN")
MAP, SHARE = 5, 1
"""Widths of a map and of the shares beside it."""


def draw_skip_map(performance: Performance, folder: Path) -> list[Path]:
    """Draw a map for attention and one for FFN; beside each the share that every layer skips."""
    workload = performance.setup.workload
    executed = effective(performance.setup.program, workload)
    layers = len(executed)
    height = min(0.18 * layers + 1.4, 4.5)
    figure = new_figure(11, 0.7 + 2 * height, performance)
    grid = figure.subplots(
        2, 2, sharey=True, gridspec_kw={"width_ratios": (MAP, SHARE)}, squeeze=False
    )
    for (axes, beside), kind, name in zip(grid, range(2), NAMES, strict=True):
        _map(axes, executed[:, kind], workload.prompt, name)
        _shares(beside, 1 - executed[:, kind].mean(axis=1))
    grid[1][0].set_xlabel("token (the line ends the prompt)")
    grid[1][1].set_xlabel("skipped, % of tokens")
    _legend(grid[0][0])
    return save(figure, folder, "skips")


def _map(axes: Axes, executed: NDArray[np.bool_], prompt: int, name: str) -> None:
    layers, tokens = executed.shape
    axes.imshow(
        executed,
        cmap=ListedColormap([SKIPPED, EXECUTED]),
        vmin=0,
        vmax=1,
        aspect="auto",
        interpolation="nearest",
        extent=(0, tokens, layers - 0.5, -0.5),
    )
    axes.axvline(prompt, color="black", linewidth=1.2)
    axes.set_ylabel(f"{name}, layer")
    axes.set_title(f"{name}: {1 - executed.mean():.1%} skipped", loc="left", fontsize=10)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))


def _shares(axes: Axes, shares: NDArray[np.float64]) -> None:
    plain_axes(axes, grid="x")
    axes.barh(np.arange(len(shares)), 100 * shares, height=0.8, color=GREY)
    axes.set_xlim(0, max(5.0, 110 * float(shares.max())))


def _legend(axes: Axes) -> None:
    handles = [Patch(color=EXECUTED, label="executed"), Patch(color=SKIPPED, label="skipped")]
    axes.legend(
        handles=handles,
        loc="lower right",
        bbox_to_anchor=(1, 1),
        borderaxespad=0.1,
        ncols=2,
        frameon=False,
    )
