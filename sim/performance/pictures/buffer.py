"""The history buffer: what it holds after each layer, and what it saves from HBM."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from hwroute.sim.performance.generation import Performance
from hwroute.sim.performance.pictures.style import (
    BLUE,
    GREY,
    YELLOW,
    new_figure,
    plain_axes,
    save,
)
from hwroute.sim.performance.result import Attention


def shares(performance: Performance) -> NDArray[np.float64]:
    """Return the share of entries that hit: [layers, steps simulated].

    Not a number where the token skips the layer's attention, or has no entries.
    """
    layers = len(performance.setup.workload.executed)
    found = np.full((layers, len(performance.steps)), np.nan)
    for number, run in enumerate(performance.steps.values()):
        for one in run.attentions:
            if one.entries:
                found[one.layer, number] = one.hits / one.entries
    return found


def draw_buffer(performance: Performance, folder: Path) -> list[Path]:
    """Draw the last step layer by layer, and hits over all simulated steps; nothing without any."""
    if not performance.steps:
        return []
    last = max(performance.steps)
    attentions = {one.layer: one for one in performance.steps[last].attentions}
    layers = len(performance.setup.workload.executed)
    figure = new_figure(11, 6.4, performance)
    top, bottom = figure.subplots(2, 1)
    capacity = performance.setup.program.config.kv.buffer_tokens
    _layers(top, attentions, layers, capacity)
    top.set_title(f"token {last}: entries of each layer", loc="left", fontsize=10)
    _hits(figure, bottom, performance)
    return save(figure, folder, "buffer")


def _layers(axes: Axes, found: dict[int, Attention], layers: int, capacity: int) -> None:
    """Draw a stack of entries for each layer, and above it what the buffer then holds."""
    plain_axes(axes, grid="y")
    places = list(found)
    hits = [one.hits for one in found.values()]
    axes.bar(places, hits, color=YELLOW, label="from the history buffer")
    rest = [one.entries - one.hits for one in found.values()]
    axes.bar(places, rest, bottom=hits, color=BLUE, label="from HBM")
    axes.plot(
        places,
        [one.held for one in found.values()],
        linestyle="none",
        marker="_",
        markersize=11,
        markeredgewidth=2.2,
        color="black",
        label="kept for the next layer",
    )
    skipped = [layer for layer in range(layers) if layer not in found]
    if skipped:
        zeros = [0] * len(skipped)
        axes.plot(skipped, zeros, "x", color=GREY, label="attention skipped", clip_on=False)
    top = max([one.entries for one in found.values()], default=1)
    if capacity <= 1.5 * top:
        axes.axhline(capacity, color="black", linewidth=1, linestyle="--", label="room")
    axes.set_xlim(-0.7, layers - 0.3)
    axes.set_xlabel("layer")
    axes.set_ylabel("entries")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(
        frameon=False,
        loc="lower right",
        bbox_to_anchor=(1, 1),
        borderaxespad=0.1,
        ncols=5,
        columnspacing=1.2,
        fontsize=9,
    )


def _hits(figure: Figure, axes: Axes, performance: Performance) -> None:
    """Draw the share of hits, layer by simulated step."""
    found = shares(performance)
    colours = mpl.colormaps["cividis"].with_extremes(bad="white")
    drawn = axes.imshow(
        100 * found,
        cmap=colours,
        aspect="auto",
        vmin=0,
        vmax=max(1.0, 100 * float(np.nanmax(found, initial=0))),
        interpolation="nearest",
    )
    tokens = list(performance.steps)
    stride = max(1, len(tokens) // 13)
    axes.set_xticks(range(0, len(tokens), stride), [str(one) for one in tokens[::stride]])
    axes.set_xlabel("token of a simulated step")
    axes.set_ylabel("layer")
    axes.set_title(
        "share of entries from the history buffer (white: attention skipped)",
        loc="left",
        fontsize=10,
    )
    figure.colorbar(drawn, ax=axes, label="hits, %", pad=0.01)
