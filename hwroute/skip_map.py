"""Which token executed which sub-layer, drawn with characters."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

EXECUTED, SKIPPED = "█", "·"
KINDS = ("attention", "ffn")


def skip_rates(executed: NDArray[np.bool_]) -> dict[str, float]:
    """Return the share of (layer, token) pairs that skipped, for attention and FFN.

    executed: bool [layers, 2, tokens].
    """
    rates = 1 - executed.mean(axis=(0, 2))
    return {kind: float(rate) for kind, rate in zip(KINDS, rates, strict=True)}


def skip_map(executed: NDArray[np.bool_], tokens: Sequence[str], *, width: int = 100) -> str:
    """Draw bool [layers, 2, tokens] as one row a sub-layer and one column a token.

    Parameters
    ----------
    executed
        What ran.
    tokens
        One character a token, shown above the columns.
    width
        Columns of the terminal; longer sequences continue in further blocks.
    """
    label = len(f"{len(executed) - 1} attention  ")
    share = len("  100 %")
    step = max(1, width - label - share)
    blocks = []
    for start in range(0, executed.shape[2], step):
        part = executed[:, :, start : start + step]
        lines = [" " * label + "".join(tokens[start : start + step])]
        for layer, kinds in enumerate(part):
            for kind, row in zip(KINDS, kinds, strict=True):
                name = f"{layer} {kind}".ljust(label)
                cells = "".join(EXECUTED if ran else SKIPPED for ran in row)
                lines.append(f"{name}{cells}{100 * row.mean():5.0f} %")
        blocks.append("\n".join(lines))
    legend = f"{EXECUTED} executed  {SKIPPED} skipped, in per cent: executed"
    return "\n\n".join([*blocks, legend])


def printable(characters: str) -> list[str]:
    """Return each character, or a stand-in where it would not take one column."""
    stand_ins = {"\n": "↵", " ": "␣", "\t": "→"}
    return [stand_ins.get(c, c if c.isprintable() else "?") for c in characters]
