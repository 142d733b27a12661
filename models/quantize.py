"""Rounding matrices to the INT4 grid."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwroute.checkpoint import Int4Weights, groups_of

Array = NDArray[Any]

LOW, HIGH = -8, 7
CLIPS = (1.0, 0.95, 0.9, 0.85, 0.8, 0.7)
"""Shares of a group's range among which the one of least squared error is taken."""
SMALLEST_SCALE = 2.0**-14
"""The smallest normal FP16: the machine reads smaller ones as zero."""
LARGEST_SCALE = 65504.0


def round_to_nearest(weight: Array, group: int) -> Int4Weights:
    """Round a matrix, each group of columns with the scale of least squared error.

    Values round to nearest, ties to even, and saturate at -8 and 7.

    Parameters
    ----------
    weight
        Floating point [out, in].
    group
        Columns that share a scale; the last group holds the columns that are left.
    """
    rows, columns = weight.shape
    if group < 1:
        raise ValueError(f"group must be positive, not {group!r}")
    # Zeros behind the last column change neither a group's largest value nor its error.
    padded = np.zeros((rows, groups_of(columns, group) * group))
    padded[:, :columns] = weight
    groups = padded.reshape(rows, -1, group)
    scales = best_scales(groups)
    values = grid(groups, scales).astype(np.int8).reshape(rows, -1)[:, :columns]
    return Int4Weights(
        values=np.ascontiguousarray(values),
        scales=scales[..., 0].astype(np.float16).view(np.uint16),
        group=group,
    )


def grid(weights: Array, scales: Array) -> Array:
    """Return the integers from -8 to 7 nearest to ``weights / scales``, ties to even."""
    values: Array = np.clip(np.rint(weights / scales), LOW, HIGH)
    return values


def best_scales(groups: Array) -> NDArray[np.float64]:
    """Return one scale, already an FP16 value, for the last axis of `groups`.

    Parameters
    ----------
    groups
        float64 [..., group].

    Returns
    -------
    float64 [..., 1]: of the candidates ``clip * max|w| / 7`` the one of least squared error, the
    largest on a tie.
    """
    top = np.abs(groups).max(axis=-1, keepdims=True) / HIGH
    best: NDArray[np.float64] = np.zeros_like(top)
    least = np.full_like(top, np.inf)
    for clip in CLIPS:
        wanted = np.clip(top * clip, SMALLEST_SCALE, LARGEST_SCALE)
        scale = wanted.astype(np.float16).astype(np.float64)
        error = ((grid(groups, scale) * scale - groups) ** 2).sum(axis=-1, keepdims=True)
        best = np.where(error < least, scale, best)
        least = np.minimum(error, least)
    return best
