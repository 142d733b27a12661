"""The skip map as a picture."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hwroute.picture import check_picture, save_picture

EXECUTED, SKIPPED = "#2f6f8f", "#f2c14e"


def save_skip_picture(
    executed: NDArray[np.bool_], tokens: Sequence[str], prompt: int, path: Path
) -> None:
    """Draw which token executed which sub-layer and save it as PNG or SVG by its suffix.

    Parameters
    ----------
    executed
        bool [layers, 2 (attention, FFN), tokens].
    tokens
        One character a token.
    prompt
        Tokens of the prompt, which a line divides from the generated ones.
    path
        File to write.

    Raises
    ------
    InputError
        The suffix is neither .png nor .svg, or the file cannot be written.
    """
    check_picture(path)
    from matplotlib.colors import ListedColormap
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    layers, _, count = executed.shape
    rows = executed.reshape(2 * layers, count)
    figure = Figure(figsize=(min(16.0, 2.6 + 0.17 * count), 1.4 + 0.24 * len(rows)), dpi=130)
    axes = figure.subplots()
    colours = ListedColormap([SKIPPED, EXECUTED])
    axes.pcolormesh(rows[::-1], cmap=colours, vmin=0, vmax=1, edgecolors="white", linewidth=0.4)
    names = [f"{layer} {kind}" for layer in range(layers) for kind in ("attention", "FFN")]
    shares = [f"{name}  {share:4.0%}" for name, share in zip(names, rows.mean(axis=1), strict=True)]
    axes.set_yticks(np.arange(len(rows)) + 0.5, shares[::-1], family="monospace", fontsize=8)
    axes.set_xticks(np.arange(count) + 0.5, tokens, family="monospace", fontsize=8)
    axes.tick_params(length=0)
    axes.axvline(prompt, color="black", linewidth=1.2)
    axes.set_xlabel("token (the line ends the prompt)")
    axes.set_ylabel("sub-layer, share of tokens executed")
    handles = [Patch(color=EXECUTED, label="executed"), Patch(color=SKIPPED, label="skipped")]
    axes.legend(handles=handles, loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    save_picture(figure, path)
