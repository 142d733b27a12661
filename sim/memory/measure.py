"""Measure a memory model as one measures a board: patterns in, rates out."""

import random
from collections.abc import Callable

import simpy

from hwroute.sim.device import Hbm
from hwroute.sim.memory.hbm import HbmMemory, Process

Pattern = Callable[[int], int]
"""Number of a burst -> its address."""


def sequential_gb_s(
    hbm: Hbm, *, ports: int, size: int, outstanding: int = 32, write: bool = False
) -> float:
    """Return the rate, GB/s, at which ports each move `size` bytes of their channel in order."""
    env = simpy.Environment()
    memory = HbmMemory(env, hbm)
    moves = [
        env.process(memory.port(index, outstanding).transfer(0, size, write=write))
        for index in range(ports)
    ]
    env.run(env.all_of(moves))
    return _gb_s(memory, env)


def pattern_gb_s(
    hbm: Hbm,
    pattern: Pattern,
    *,
    size: int,
    count: int,
    outstanding: int,
    channel: int = 0,
    writes: Pattern = lambda _: 0,
) -> float:
    """Return the rate, GB/s, of bursts through port 0, `outstanding` of them on their way.

    Parameters
    ----------
    pattern
        Address of each burst.
    size, count
        Bytes of a burst, and bursts.
    channel
        That they go to.
    writes
        Not 0 where a burst writes.
    """
    env = simpy.Environment()
    memory = HbmMemory(env, hbm)
    port = memory.port(0, outstanding)
    numbers = iter(range(count))

    def worker() -> Process:
        for number in numbers:
            move = port.transfer(pattern(number), size, channel=channel, write=bool(writes(number)))
            yield env.process(move)

    env.run(env.all_of([env.process(worker()) for _ in range(outstanding)]))
    return _gb_s(memory, env)


def random_pattern(hbm: Hbm, size: int, seed: int) -> Pattern:
    """Return random aligned addresses in a channel."""
    rng = random.Random(seed)
    return lambda _: rng.randrange(hbm.channel_bytes // size) * size


def strided_pattern(hbm: Hbm, stride: int) -> Pattern:
    """Return addresses that are `stride` bytes apart, and start again at the channel's end."""
    return lambda number: number * stride % hbm.channel_bytes


def idle_cycles(hbm: Hbm) -> tuple[float, float, float]:
    """Return the latency of a lone read in cycles of the port: closed, open page, conflict."""
    env = simpy.Environment()
    memory = HbmMemory(env, hbm)
    # The last channel's first refresh is a whole interval away.
    port = memory.port(hbm.channels - 1, 1)
    seen: list[float] = []
    rows = 1 << (hbm.address.column + hbm.address.group_high + hbm.address.bank + 1)

    def reads() -> Process:
        for address in (0, 0, rows * 32):
            start = env.now
            yield env.process(port.transfer(address, 32))
            seen.append((env.now - start) / hbm.port_ticks)

    env.run(env.process(reads()))
    closed, hit, conflict = seen
    return closed, hit, conflict


def _gb_s(memory: HbmMemory, env: simpy.Environment) -> float:
    return float(memory.bytes / env.now * memory.hbm.dram_mhz / 1e3)
