"""HBM as a SimPy model: ports, the switch, and controllers that pick the next burst.

Time is in *ticks*, DRAM cycles.
"""

from collections.abc import Generator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import simpy

from hwroute.sim.device import ATOM_BYTES, ATOM_CYCLES, Hbm
from hwroute.sim.memory.channel import Channel

BOUNDARY_BYTES = 4096
"""No AXI burst crosses it."""
Process = Generator[simpy.Event, Any, Any]


@dataclass(eq=False, kw_only=True)
class Burst:
    """A burst on its way.

    Parameters
    ----------
    arrival
        When it reaches the controller.
    address, size
        Bytes within the channel.
    write
        Whether it writes.
    served
        Triggered when the last data have moved in the DRAM.
    """

    arrival: int
    address: int
    size: int
    write: bool
    served: simpy.Event


class Controller:
    """The controller of a channel: of the first few bursts that wait it takes the earliest.

    Parameters
    ----------
    env
        SimPy's.
    channel
        What it controls.

    Members
    -------
    channel
        With the counts of what happened.
    """

    def __init__(self, env: simpy.Environment, channel: Channel):
        self.env = env
        self.channel = channel
        self._waiting: list[Burst] = []
        self._more = env.event()
        env.process(self._serve())

    def submit(self, burst: Burst) -> None:
        """Queue a burst that is there now."""
        self._waiting.append(burst)
        if not self._more.triggered:
            self._more.succeed()

    def _serve(self) -> Process:
        while True:
            if not self._waiting:
                self._more = self.env.event()
                yield self._more
            burst = self._take()
            end = self.channel.access(burst.arrival, burst.address, burst.size, write=burst.write)
            self.env.process(self._finish(burst, end))
            # The next is chosen when this one's last column command goes out, not earlier.
            yield self.env.timeout(max(0, self.channel.column - self.env.now))

    def _take(self) -> Burst:
        def earliest(burst: Burst) -> int:
            return self.channel.earliest(burst.arrival, burst.address, write=burst.write)

        # min takes the first of equals: the oldest.
        best = min(self._waiting[: self.channel.hbm.reorder], key=earliest)
        self._waiting.remove(best)
        return best

    def _finish(self, burst: Burst, end: int) -> Process:
        yield self.env.timeout(end - self.env.now)
        burst.served.succeed()


class HbmMemory:
    """All channels of a device.

    Parameters
    ----------
    env
        SimPy's.
    hbm
        The device's.
    """

    def __init__(self, env: simpy.Environment, hbm: Hbm):
        self.env = env
        self.hbm = hbm
        interval = hbm.cycles_of(hbm.timing.refresh_interval_ns)
        self.controllers = [
            # Channels are refreshed one after the other, not all at once.
            Controller(env, Channel(hbm, interval * (index + 1) // hbm.channels - interval))
            for index in range(hbm.channels)
        ]

    def port(self, index: int, outstanding: int) -> "HbmPort":
        """Return the port of channel `index`, with at most `outstanding` bursts on their way."""
        return HbmPort(self, index, outstanding)

    @property
    def bytes(self) -> int:
        """Bytes that all channels have moved."""
        return sum(controller.channel.counts.bytes for controller in self.controllers)


class HbmPort:
    """An AXI port: bursts of at most `Hbm.burst_bytes`, answered in order.

    A port reaches every channel, its own at full rate, the others through the switch at
    `Hbm.lateral_share` of it. An answer that waits holds up all behind it.
    """

    def __init__(self, memory: HbmMemory, index: int, outstanding: int):
        self.memory = memory
        self.env = memory.env
        self.index = index
        self._slots = simpy.Resource(self.env, outstanding)
        self._moved: simpy.Event = self.env.event().succeed()
        """The data of the last burst have passed the port."""
        self._free = 0
        """When the port's data lines are free."""

    def transfer(
        self, address: int, size: int, *, channel: int | None = None, write: bool = False
    ) -> Process:
        """Move bytes, and return when the last is there (a process).

        Parameters
        ----------
        address, size
            Bytes within the channel, multiples of 32.
        channel
            The port's own by default.
        write
            Whether it writes; a write is over when it is answered.
        """
        answered: list[simpy.Event] = []
        for start, length in bursts(address, size, self.memory.hbm.burst_bytes):
            slot = self._slots.request()
            yield slot
            before, self._moved = self._moved, self.env.event()
            answered.append(self.env.event())
            target = self.index if channel is None else channel
            self.env.process(
                self._burst(start, length, target, write, slot, (before, self._moved, answered[-1]))
            )
        yield answered[-1]

    def _burst(
        self,
        address: int,
        size: int,
        channel: int,
        write: bool,
        slot: Any,
        order: tuple[simpy.Event, simpy.Event, simpy.Event],
    ) -> Process:
        hbm, env = self.memory.hbm, self.env
        before, moved, answered = order
        there = hbm.path_ticks // 2
        yield env.timeout(there)
        burst = Burst(arrival=env.now, address=address, size=size, write=write, served=env.event())
        self.memory.controllers[channel].submit(burst)
        yield burst.served & before
        # Data stream through while they move; the port's lines take them one after the other.
        share = 1.0 if channel == self.index else hbm.lateral_share
        moving = round(size // ATOM_BYTES * ATOM_CYCLES / share)
        already = size // ATOM_BYTES * ATOM_CYCLES
        self._free = max(self._free + moving, env.now + moving - already)
        yield env.timeout(self._free - env.now)
        moved.succeed()
        yield env.timeout(hbm.path_ticks - there)
        self._slots.release(slot)
        answered.succeed()


def bursts(address: int, size: int, largest: int) -> list[tuple[int, int]]:
    """Return start and length of the bursts of a transfer: aligned to, and at most, `largest`.

    Raises
    ------
    ValueError
        No positive multiple of 32 bytes from a multiple of 32.
    """
    if size < 1 or address % ATOM_BYTES or size % ATOM_BYTES:
        raise ValueError(
            f"Transfer must be of a positive multiple of {ATOM_BYTES} bytes from one, "
            f"not {size} from {address}"
        )
    step = min(largest, BOUNDARY_BYTES)
    cuts = [address, *range((address // step + 1) * step, address + size, step), address + size]
    return [(start, stop - start) for start, stop in pairwise(cuts)]
