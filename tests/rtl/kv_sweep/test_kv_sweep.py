# amaranth: UnusedElaboratable=no
"""Sweeps bring the lines and exponents that were asked for, from where the order says."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from hwroute.kv import ORDER_FIELDS, KVOp
from hwroute.sim.replay_kv import decode_log

pytestmark = pytest.mark.usefixtures("memory_rams")
HIT, KEEP = (ORDER_FIELDS.index(name) for name in ("hit", "keep"))


def orders_of(config: Any, *, tokens: int, seed: int) -> list[Any]:
    """Return the orders of a decode in which tokens skip layers and are evicted."""
    log = decode_log(config.kv, tokens=tokens, layers=4, skip=0.4, seed=seed, evict=0.1)
    return [r.record for r in log if r.op is KVOp.ATTEND and r.record is not None]


def parts_of(kv_sweep: Any, rng: Any, value: int, lines: int) -> list[Any]:
    """Return sweeps that take a vector in up to three parts."""
    cuts = sorted({0, lines, *rng.integers(0, lines + 1, 2).tolist()})
    return [kv_sweep.Sweep(value=value, line=a, lines=b - a) for a, b in pairwise(cuts)]


def decode(kv_sweep: Any, orders: list[Any], lines: int, seed: int) -> list[Any]:
    """Sweep every order in parts, K first, now and then K or V again."""
    rng = np.random.default_rng(seed)
    attentions = [kv_sweep.Attention(order=None, sweeps=())]
    for order in orders:
        sweeps = parts_of(kv_sweep, rng, 0, lines) + parts_of(kv_sweep, rng, 1, lines)
        if rng.random() < 0.2:
            sweeps += parts_of(kv_sweep, rng, int(rng.integers(2)), lines)
        attentions.append(kv_sweep.Attention(order=order, sweeps=tuple(sweeps)))
    return attentions


FOUR_BANKS = {"hbm_ports": 2, "buffer_read_ports": 4, "buffer_write_ports": 2}


@pytest.mark.parametrize(
    ("sizes", "lines", "stall"),
    [
        pytest.param({}, 2, 0.0, id="single-beats-free"),
        pytest.param({}, 2, 0.4, id="single-beats"),
        pytest.param({"beat_bits": 512, "entry_beats": 6}, 3, 0.3, id="pairs"),
        pytest.param(FOUR_BANKS, 1, 0.4, id="four-banks"),
    ],
)
def test_a_decode_brings_every_line(
    kv_sweep: Any, sizes: dict[str, int], lines: int, stall: float
) -> None:
    """The array takes as the attention units do: a batch, its lines in step, its exponents."""
    config = kv_sweep.config_of(**sizes)
    orders = orders_of(config, tokens=8, seed=5)
    assert sum(order[:, HIT].sum() for order in orders) > 10
    assert sum((order[:, KEEP] > order[:, HIT]).sum() for order in orders) > 10
    layout = kv_sweep.Map(lines=lines, base=37)
    latencies = (2, 5, 20) if stall else (30, 3)
    attentions = decode(kv_sweep, orders, lines, 6)
    kv_sweep.compare(config, layout, attentions, stall=stall, latencies=latencies)


@pytest.mark.parametrize("seed", [1, 2])
def test_ports_run_ahead_and_orders_follow_at_once(kv_sweep: Any, seed: int) -> None:
    """Sources are taken from as they come, ports are of unlike speed, orders wait for nothing."""
    config = kv_sweep.config_of(buffer_tokens=4)
    attentions = decode(kv_sweep, orders_of(config, tokens=9, seed=seed + 10), 2, seed)
    kv_sweep.compare(
        config,
        kv_sweep.Map(lines=2),
        attentions,
        strict=False,
        eager=True,
        stall=0.2 * (seed - 1),
        latencies=(60, 3, 9, 4),
        seed=seed,
    )
