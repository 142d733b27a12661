"""Draw how the buffers of a layer share the scratchpad."""

from pathlib import Path
from typing import Any

from hwroute.compiler.allocate import lifetimes
from hwroute.compiler.compile import Lowered
from hwroute.compiler.draft import Buffer, Draft, Store
from hwroute.isa.fields import Unit
from hwroute.picture import save_picture

COLOURS = {
    Unit.DMA: "#7f8c8d",
    Unit.ARRAY: "#2f6f8f",
    Unit.NPE: "#f2c14e",
    Unit.KV: "#a05c7b",
    Unit.ROUTER: "#5b9357",
}

NAMED_INSTRUCTIONS = 5
NAMED_SHARE = 0.03
"""Smallest life, and smallest share of the picture's height, of a buffer whose name fits in."""


def save_scratchpad_picture(lowered: Lowered, layer: int, path: Path) -> None:
    """Draw the buffers of one layer of a prompt tile, over instructions and scratchpad lines.

    Parameters
    ----------
    lowered
        The Program.
    layer
        Number of the layer.
    path
        PNG or SVG file to write.

    Raises
    ------
    InputError
        The suffix is neither .png nor .svg, or the file cannot be written.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    drafts = lowered.bodies.prefill
    inside = [i for i, one in enumerate(drafts) if one.operation.startswith(f"layers.{layer}.")]
    first, last = inside[0], inside[-1]
    figure = Figure(figsize=(11, 5.2), dpi=130)
    units, axes = figure.subplots(2, 1, height_ratios=[1, 4], sharex=True)
    for index in range(first, last + 1):
        unit = drafts[index].unit
        if unit in COLOURS:
            units.barh(list(COLOURS).index(unit), 1, left=index, color=COLOURS[unit])
    units.set_yticks(range(len(COLOURS)), [unit.name for unit in COLOURS], fontsize=8)
    units.set_title(
        f"Layer {layer}, a tile of {lowered.tile} tokens: instructions by unit, "
        "buffers in the scratchpad",
        fontsize=10,
    )
    units.invert_yaxis()
    living = [
        (buffer, max(start, first), min(stop, last))
        for buffer, (start, stop) in lifetimes(drafts).items()
        if buffer.store is Store.SCRATCHPAD and start <= last and stop >= first
    ]
    height = max(_end(buffer) for buffer, *_ in living)
    for buffer, start, stop in living:
        _draw_buffer(axes, drafts, buffer, range(start, stop + 1), height)
    axes.set_xlim(first, last + 1)
    axes.set_ylabel("scratchpad, lines of 128 bytes")
    axes.set_xlabel("instruction of the prefill body")
    axes.invert_yaxis()
    handles = [Patch(color=colour, label=unit.name) for unit, colour in COLOURS.items()]
    axes.legend(
        handles=handles,
        title="written by",
        fontsize=8,
        loc="upper left",
        bbox_to_anchor=(1, 1),
        frameon=False,
    )
    for one in (units, axes):
        for side in ("top", "right"):
            one.spines[side].set_visible(False)
    figure.tight_layout()
    save_picture(figure, path)


def _end(buffer: Buffer) -> int:
    assert buffer.address is not None
    return buffer.address + buffer.size


def _draw_buffer(axes: Any, drafts: list[Draft], buffer: Buffer, life: range, height: int) -> None:
    """Draw a buffer, with its name where there is room in a picture of `height` lines."""
    writers = [one.unit for one in drafts for span in one.writes if span.buffer is buffer]
    colour = COLOURS[writers[0]]
    middle = _end(buffer) - buffer.size / 2
    axes.barh(
        middle,
        len(life),
        height=buffer.size,
        left=life.start,
        color=colour,
        edgecolor="white",
        linewidth=0.8,
    )
    if len(life) < NAMED_INSTRUCTIONS or buffer.size < NAMED_SHARE * height:
        return
    name = buffer.name.rpartition(".attention.")[2].rpartition(".ffn.")[2]
    axes.text(
        life.start + len(life) / 2,
        middle,
        name.removeprefix("prefill."),
        ha="center",
        va="center",
        fontsize=7,
        color="black" if writers[0] is Unit.NPE else "white",
    )
