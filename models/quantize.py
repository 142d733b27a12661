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
CHUNK_ELEMENTS = 1 << 16
"""Weights that are rounded at a time."""


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
    values = np.empty((rows, columns), np.int8)
    halves = np.empty((rows, groups_of(columns, group)), np.float16)
    # Some rows at a time, so that what is made of them stays in the processor's cache.
    step = max(1, CHUNK_ELEMENTS // max(1, columns))
    for start in range(0, rows, step):
        part = weight[start : start + step]
        # Zeros behind the last column change neither a group's largest value nor its error.
        padded = np.zeros((len(part), halves.shape[1] * group))
        padded[:, :columns] = part
        groups = padded.reshape(len(part), -1, group)
        scales = best_scales(groups)
        values[start : start + step] = grid(groups, scales).reshape(len(part), -1)[:, :columns]
        halves[start : start + step] = scales[..., 0]
    return Int4Weights(values=values, scales=halves.view(np.uint16), group=group)


def grid(weights: Array, scales: Array) -> Array:
    """Return the integers from -8 to 7 nearest to ``weights / scales``, ties to even."""
    values: Array = weights / scales
    # In place: rounding a large model spends its time here.
    np.rint(values, out=values)
    return np.clip(values, LOW, HIGH, out=values)


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
        error = grid(groups, scale)
        error *= scale
        error -= groups
        error *= error
        error = error.sum(axis=-1, keepdims=True)
        best = np.where(error < least, scale, best)
        least = np.minimum(error, least)
    return best
