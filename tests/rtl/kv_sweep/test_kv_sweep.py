# amaranth: UnusedElaboratable=no
"""Sweeps bring the lines and exponents that were asked for, from where the order says."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from hwroute.kv import ORDER_FIELDS, KVOp
from hwroute.sim.replay_kv import decode_log

HIT, KEEP = (ORDER_FIELDS.index(name) for name in ("hit", "keep"))


def orders_of(config: Any, *, tokens: int, seed: int, skip: float = 0.4) -> list[Any]:
    """Return the orders of a decode, of which hits come from the buffer."""
    log = decode_log(config.kv, tokens=tokens, layers=4, skip=skip, seed=seed, evict=0.1)
    return [r.record for r in log if r.op is KVOp.ATTEND and r.record is not None]


def split(kv_sweep: Any, rng: Any, value: int, lines: int) -> list[Any]:
    """Return sweeps that take a vector in parts."""
    cuts = sorted({0, lines, *rng.integers(0, lines + 1, 2).tolist()})
    pairs = pairwise(cuts)
    return [kv_sweep.Sweep(value=value, line=a, lines=b - a) for a, b in pairs]


def decode(kv_sweep: Any, orders: list[Any], lines: int, seed: int) -> list[Any]:
    """Sweep every order in parts, K first, now and then all of it again."""
    rng = np.random.default_rng(seed)
    attentions = [kv_sweep.Attention(order=None, sweeps=())]
    for order in orders:
        sweeps = split(kv_sweep, rng, 0, lines) + split(kv_sweep, rng, 1, lines)
        if rng.random() < 0.2:
            sweeps += split(kv_sweep, rng, 0, lines)
        attentions.append(kv_sweep.Attention(order=order, sweeps=tuple(sweeps)))
    return attentions


WIDTHS = [
    pytest.param({}, 2, id="two-lines"),
    pytest.param({"beat_bits": 512, "entry_beats": 6}, 3, id="pairs"),
    pytest.param({"hbm_ports": 2, "buffer_read_ports": 4, "buffer_write_ports": 2}, 1, id="banks"),
]


@pytest.mark.parametrize("stall", [0.0, 0.4])
@pytest.mark.parametrize(("sizes", "lines"), WIDTHS)
def test_a_decode_brings_every_line(
    kv_sweep: Any, sizes: dict[str, int], lines: int, stall: float
) -> None:
    config = kv_sweep.config_of(**sizes)
    orders = orders_of(config, tokens=14, seed=5)
    assert sum(order[:, HIT].sum() for order in orders) > 20
    layout = kv_sweep.Map(lines=lines, base=37)
    kv_sweep.compare(config, layout, decode(kv_sweep, orders, lines, 6), stall=stall)
