"""How fast a port of HBM is, in cycles of the machine's clock.

What a run of beats takes comes from the burst level (`hwroute.sim.memory.hbm`), measured once for
each kind of run, or for long streams from the closed form.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache

import simpy

from hwroute import memory_timing
from hwroute.isa.fields import BEAT_BYTES
from hwroute.rtl.memory_reader import OUTSTANDING
from hwroute.sim.device import ATOM_CYCLES, Hbm
from hwroute.sim.memory.closed_form import stream_share
from hwroute.sim.memory.hbm import HbmMemory, bursts

REFRESHES = 6
"""Over how many refreshes short runs are averaged at least."""
PAGE_BEATS = 32
"""Of a DRAM page: 1 KiB."""
Run = tuple[int, int]
"""First beat in a slot, and beats."""


class HbmRates(ABC):
    """How fast a port of HBM is.

    Members
    -------
    latency
        Cycles from a request at an idle port to its first data, besides the machine's own.
    beat_cycles
        Cycles that a beat takes at least, for the width of the port.
    clock_cycles
        Cycles of the machine that a cycle of the memory takes.
    paired
        A beat on the machine's side is two of the memory's.
    duplex
        Reads and writes go on side by side, as the channels of AXI do.
    """

    duplex: bool = False
    latency: float
    beat_cycles: float
    clock_cycles: float
    paired: bool

    @property
    def read_cycles(self) -> float:
        """Cycles from a unit's request at an idle port to its first data."""
        own = memory_timing.hbm_read_cycles(self.clock_cycles, paired=self.paired)
        return self.latency + own + 2 * memory_timing.READ_SHARE_CYCLES

    @property
    def answer_cycles(self) -> float:
        """Cycles from the last beat of a request to write to its answer."""
        return self.latency + memory_timing.hbm_answer_cycles(self.clock_cycles)

    @abstractmethod
    def stream_cycles(self, beats: int) -> float:
        """Return what beats of a long sequential read take."""

    @abstractmethod
    def run_cycles(self, slot: int, runs: tuple[Run, ...], *, write: bool = False) -> float:
        """Return what some runs of beats of a slot of `slot` beats take, on average."""


@dataclass(frozen=True, kw_only=True)
class FixedHbm(HbmRates):
    """Ports of constant latency, a beat every `beat_cycles`: the memories of a Verilator run.

    Parameters
    ----------
    latency, beat_cycles, clock_cycles, paired
        As in `HbmRates`.
    """

    duplex: bool = True
    latency: float = 1
    beat_cycles: float = 1.0
    clock_cycles: float = 1.0
    paired: bool = False

    def stream_cycles(self, beats: int) -> float:
        """Return as many times the cycles of a beat."""
        return beats * self.beat_cycles

    def run_cycles(
        self,
        slot: int,  # noqa: ARG002 - a run costs its beats, wherever they lie
        runs: tuple[Run, ...],
        *,
        write: bool = False,  # noqa: ARG002
    ) -> float:
        """Return the same of all beats."""
        return self.stream_cycles(sum(beats for _, beats in runs))


@dataclass(frozen=True, kw_only=True)
class DeviceHbm(HbmRates):
    """The HBM of a device.

    Parameters
    ----------
    hbm, core_mhz
        Of the device.
    beat_bits
        Width of a port on the machine's side.
    sample
        Slots over which runs are averaged.
    """

    hbm: Hbm
    core_mhz: int
    beat_bits: int
    sample: int

    @property
    def clock_cycles(self) -> float:  # type: ignore[override]
        """Of the port's clock."""
        return self.core_mhz / self.hbm.port_mhz

    @property
    def paired(self) -> bool:  # type: ignore[override]
        """Where the machine's side is wider than the port."""
        return self.beat_bits > 8 * BEAT_BYTES

    @property
    def latency(self) -> float:  # type: ignore[override]
        """Of a closed page."""
        return math.ceil(self.hbm.idle.closed * self.core_mhz / self.hbm.port_mhz)

    @property
    def beat_cycles(self) -> float:  # type: ignore[override]
        """The narrower of the two sides."""
        outside = ATOM_CYCLES * self.core_mhz / self.hbm.dram_mhz
        return max(outside, 8 * BEAT_BYTES / self.beat_bits)

    def stream_cycles(self, beats: int) -> float:
        """Return the closed form."""
        outside = ATOM_CYCLES * self.core_mhz / self.hbm.dram_mhz / stream_share(self.hbm)
        return beats * max(outside, 8 * BEAT_BYTES / self.beat_bits)

    def run_cycles(self, slot: int, runs: tuple[Run, ...], *, write: bool = False) -> float:
        """Return what the burst level says."""
        # Where a run begins in a page matters, which page it is does not. Of one short run slots
        # begin at all places that their distance leads to, so only its phase matters.
        period = PAGE_BEATS
        if len(runs) == 1 and runs[0][1] < PAGE_BEATS:
            period = math.gcd(slot, PAGE_BEATS)
        alike = tuple((first % period, beats) for first, beats in runs)
        ticks = _run_ticks(self.hbm, slot, alike, self.sample, write)
        inside = sum(beats for _, beats in runs) * 8 * BEAT_BYTES / self.beat_bits
        return max(ticks * self.core_mhz / self.hbm.dram_mhz, inside)


@lru_cache(maxsize=256)
def _run_ticks(hbm: Hbm, slot: int, runs: tuple[Run, ...], sample: int, write: bool) -> float:
    """Return the DRAM cycles that runs of one slot after the other take, all asked for ahead."""
    env = simpy.Environment()
    port = HbmMemory(env, hbm).port(0, OUTSTANDING)
    beats = sum(count for _, count in runs)
    # At least as long as a few refreshes are apart, or short runs would miss them.
    interval = hbm.cycles_of(hbm.timing.refresh_interval_ns)
    count = max(sample, REFRESHES * interval // (beats * ATOM_CYCLES))
    moves = [
        env.process(port.transfer(address, size, write=write))
        for number in range(count)
        for first, length in runs
        for address, size in bursts(
            (number * slot + first) * BEAT_BYTES, length * BEAT_BYTES, hbm.burst_bytes
        )
    ]
    env.run(moves[count // 10])
    start = env.now
    env.run(env.all_of(moves))
    return float(env.now - start) / (1 - (count // 10 + 1) / len(moves)) / count
