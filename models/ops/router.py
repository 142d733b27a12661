"""Routing decisions and the bitmask."""

import numpy as np
from numpy.typing import NDArray

from hwroute.numerics import Floats32

Bools = NDArray[np.bool_]


def decide(logits: Floats32, *, execute: int, tie_executes: bool) -> Bools:
    """Return which rows [rows] execute, from FP32 logits [rows, 2].

    execute: the index whose logit means execute. Compared at full FP32 width, so that no rounding
    makes a tie.
    """
    run, skip = logits[:, execute], logits[:, 1 - execute]
    return run >= skip if tie_executes else run > skip


def compact(mask: Bools) -> NDArray[np.int64]:
    """Return the indices of the executing rows in order."""
    return np.flatnonzero(mask)


def pack_mask(mask: Bools) -> NDArray[np.uint64]:
    """Return a bitmask plane in words of 64 tokens, token 0 in the lowest bit of word 0."""
    padded = np.zeros(-(-len(mask) // 64) * 64, np.uint8)
    padded[: len(mask)] = mask
    return np.packbits(padded, bitorder="little").view("<u8")
