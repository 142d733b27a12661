"""Long streams in closed form, for where simulating every burst would take too long."""

from hwroute.sim.device import ATOM_BYTES, ATOM_CYCLES, Hbm


def refresh_ticks(hbm: Hbm, *, write: bool = False) -> int:
    """Return the ticks that a refresh takes from a sequential stream.

    The last column command of a row must be over before its precharge; then precharge, refresh,
    and an activate before data move again.
    """
    t = hbm.timing
    closing = t.write_latency + ATOM_CYCLES + t.write_recovery if write else t.read_to_precharge
    opening = t.activate_to_write if write else t.activate_to_read
    return closing + t.precharge + hbm.cycles_of(t.refresh_ns) + opening


def stream_share(hbm: Hbm, *, write: bool = False) -> float:
    """Return the share of its peak that a channel gives a long sequential stream.

    Rows open while others move (with the address order of the device), so only refreshes cost.
    """
    interval = hbm.cycles_of(hbm.timing.refresh_interval_ns)
    return 1 - refresh_ticks(hbm, write=write) / interval


def stream_ticks(hbm: Hbm, size: int, *, write: bool = False) -> float:
    """Return the ticks in which a channel moves `size` bytes in sequence, latency excluded."""
    return size / ATOM_BYTES * ATOM_CYCLES / stream_share(hbm, write=write)
