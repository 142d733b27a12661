# amaranth: UnusedElaboratable=no
"""Lists of the rows of planes."""

from typing import Any

import numpy as np
import pytest

from hwroute import timing
from hwroute.isa.fields import PLANES
from hwroute.models.ops.router import compact
from hwroute.rtl.row_lister import RowLister
from hwroute.sim.stream_simulation import simulate_streams
from hwroute.sim.units import Run


def listed(planes: Any, requests: Any, stall: float = 0.0) -> Run:
    """List planes [planes, rows] and compare; requests [n, 2]: plane, rows."""
    unit = RowLister(tile=planes.shape[1], planes=len(planes))
    rows, last, empty = [], [], []
    for plane, count in requests:
        mask = np.ones(planes.shape[1], bool) if plane == 0 else np.zeros(planes.shape[1], bool)
        if 0 < plane < len(planes):
            mask = planes[plane]
        here = compact(mask[:count])
        rows += here.tolist() or [0]
        last += [0] * (max(1, len(here)) - 1) + [1]
        empty += [0] * len(here) or [1]
    setting = int.from_bytes(np.packbits(planes, bitorder="little").tobytes(), "little")
    run = simulate_streams(
        unit,
        {"port.request": {"plane": requests[:, 0], "rows": requests[:, 1]}},
        {"port.rows": len(rows)},
        settings={"planes": setting},
        stall=stall,
    )
    got = run.outputs["port.rows"]
    assert np.array_equal(got["row"], rows)
    assert np.array_equal(got["last"], last)
    assert np.array_equal(got["empty"], empty)
    return run


@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_lists_hold_the_rows_of_their_planes(stall: float) -> None:
    """No row, all rows, one row, random ones; planes that are not there; all numbers of rows."""
    rng = np.random.default_rng(45)
    planes = rng.integers(0, 2, (6, 24)) == 1
    planes[1], planes[2], planes[3] = False, True, np.arange(24) == 23
    requests = [(plane, rows) for plane in range(PLANES) for rows in (0, 1, 5, 23, 24, 25, 1 << 31)]
    listed(planes, np.array(rng.permutation(requests)), stall)


def test_rows_leave_one_a_cycle_from_one_list_to_the_next() -> None:
    planes = np.random.default_rng(46).integers(0, 2, (8, 64)) == 1
    planes[1] = False
    run = listed(planes, np.array([(2, 64), (1, 64), (3, 64), (0, 64)]))
    out = run.out_cycles["port.rows"]
    assert np.all(np.diff(out) == 1)
    assert out[0] - run.in_cycles["port.request"][0] == timing.ROW_LIST_CYCLES
