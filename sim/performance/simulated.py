"""The memories of a run of the RTL (``sim/verilog/hwroute_axi_memory.v``), for the model.

Latency and clocks are the run's own; of stalls the model has what they cost on average. A channel
stalls while a byte of a shift register is below a threshold. The byte moves by one bit a cycle, so
a stall is longer than if the cycles were independent.
"""

from functools import lru_cache

import numpy as np

from hwroute.config import KVConfig
from hwroute.isa.fields import BEAT_BYTES
from hwroute.sim.machine.run import STALLS
from hwroute.sim.performance.hbm_rates import FixedHbm
from hwroute.sim.performance.memory import Memories

LONGEST = 400
"""Cycles after which no stall is left that would matter."""


@lru_cache(maxsize=64)
def wait_cycles(stall: float) -> float:
    """Return how long a channel makes a payload wait that comes at any time, on average.

    Parameters
    ----------
    stall
        Share of the cycles in which it stalls, as `hwroute.sim.machine.run.run_machine` takes it.
    """
    threshold = round(stall * STALLS)
    values = np.arange(STALLS)
    chance = np.where(values < threshold, 1 / STALLS, 0.0)
    total = 0.0
    for _ in range(LONGEST):
        total += float(chance.sum())
        after = np.zeros(STALLS)
        for bit in range(2):
            np.add.at(after, (2 * values + bit) % STALLS, chance / 2)
        chance = np.where(values < threshold, after, 0.0)
    return total


def simulated(
    kv: KVConfig, *, latency: int, stall: float, half_periods: tuple[int, int]
) -> Memories:
    """Return the memories of a run of the RTL.

    Parameters
    ----------
    kv
        Ports of HBM, and their width on the machine's side.
    latency, stall, half_periods
        As `hwroute.sim.machine.run.run_machine` takes them.
    """
    machine, memory = half_periods
    clock = memory / machine
    beat = 1 / (1 - round(stall * STALLS) / STALLS)
    # Both the address and the first data may have to wait.
    first = latency + 2 * wait_cycles(stall)
    rates = FixedHbm(
        latency=clock * first,
        beat_cycles=max(8 * BEAT_BYTES / kv.beat_bits, clock * beat),
        clock_cycles=clock,
        paired=kv.beat_bits > 8 * BEAT_BYTES,
    )
    return Memories(kv.hbm_ports, rates, ddr_latency=first, ddr_beat_cycles=beat)
