"""Mechanisms beyond the machine as it is: what each changes in the model, and what RTL it needs."""

from dataclasses import dataclass

from hwroute import timing
from hwroute.rtl.matmul_layouts import STRIPES


@dataclass(frozen=True, kw_only=True)
class Mechanisms:
    """Switches, each alone; as they are here, the machine is what the RTL is.

    Parameters
    ----------
    interleave_heads
        `scores` takes the lines of several heads in turn, so that no beat waits for the sum that
        the one before left. RTL: accumulator rows for these heads in `hwroute.rtl.scores`, and K
        written by `kv.write` with the same line of all heads side by side.
    skip_empty
        The loader takes no beat for a group of sources that bring nothing, such as the banks of the
        history buffer where nothing is in it. RTL: `hwroute.rtl.values_tiles` and its like for K
        count to the next group in use, not to the next one.
    run_ahead
        Memory is asked for weights, K and V when their instruction is in the array's queue, not
        when it starts, and each HBM port goes on as far as its FIFOs let it. RTL: the array's
        queue is read twice, by the readers and then by the array; a reader's own count of beats.
    speculated_stripes
        Stripes of weights behind a branch on an empty plane that are asked for before the router
        decides, as if the sub-layer will execute. What was read for one that does not is dropped;
        its bytes and time are counted. RTL: the readers walk the Program on their own, and drop
        beats by a tag; needs `run_ahead`.
    ring_stripes
        Stripes of weights (4 KiB a port at `u280`) that are on their way or wait. RTL: depth of
        the rings of weights and scales in `hwroute.rtl.matmul`.
    queued_orders
        Orders over an invalid buffer are made by the queues of the ports too, not by a walk that
        ends a round where a port comes twice. RTL: `hwroute.rtl.kv_scheduler` scans in any case.
    survivors
        What the history buffer holds for a layer whose attention is skipped stays, as far as the
        layer behind reuses it. RTL: a scan of the buffer in place of its invalidation.
    placement
        A slot is dealt to the port that has least to read at the layer, entries that are reused
        counted at `REUSED_SHARE`. RTL: a counter for each layer and port, and a tree of minima.
    split_sums
        A row's sums are `timing.ROW_SLOTS` partial sums, added at its end. RTL: slots of
        `hwroute.rtl.reduction`, given to one row; another order of additions, so other bits.
    kv_bits
        Of an element of K and V; 8 with an exponent for each line of 64, of K too. RTL: conversion
        in front of `kv.write`, none behind: the array aligns by blocks already.

    Raises
    ------
    ValueError
        A value out of range, or speculation without run-ahead.
    """

    interleave_heads: bool = False
    skip_empty: bool = False
    run_ahead: bool = False
    speculated_stripes: int = 0
    ring_stripes: int = STRIPES
    queued_orders: bool = False
    survivors: bool = False
    placement: bool = False
    split_sums: bool = False
    kv_bits: int = 16

    def __post_init__(self) -> None:
        if self.kv_bits not in (8, 16):
            raise ValueError(f"kv_bits must be 8 or 16, not {self.kv_bits!r}")
        if self.ring_stripes < 2:
            raise ValueError(f"ring_stripes must be at least 2, not {self.ring_stripes!r}")
        most = self.ring_stripes if self.run_ahead else 0
        if not 0 <= self.speculated_stripes <= most:
            raise ValueError(
                f"speculated_stripes must be from 0 to {most} (ring_stripes, with run_ahead), "
                f"not {self.speculated_stripes!r}"
            )


def split_sum_cycles(rows: int, lines: int, cycles: int) -> int:
    """Return what a reduction takes whose rows have several sums, for one that takes `cycles`."""
    last = rows - timing.ROW_SLOTS * ((rows - 1) // timing.ROW_SLOTS)
    waited = (lines - 1) * max(0, timing.ROW_PERIOD_CYCLES - last)
    levels = (timing.ROW_SLOTS - 1).bit_length()
    return cycles - max(0, waited - levels * timing.FLOAT_ADD_CYCLES)
