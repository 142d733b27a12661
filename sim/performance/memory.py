"""HBM and DDR as the machine's ports see them, in cycles of the machine's clock.

A request claims its port for as long as its data move; requests are served in the order in which
they are made. What a run of beats takes comes from the burst level (`hwroute.sim.memory.hbm`),
measured once for each kind of run, or for long streams from the closed form.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import simpy
from numpy.typing import NDArray

from hwroute import memory_timing
from hwroute.isa.fields import BEAT_BYTES
from hwroute.rtl.axi import DDR_PORT, LINE_BEATS
from hwroute.rtl.memory_reader import OUTSTANDING
from hwroute.sim.device import ATOM_CYCLES, Device, Hbm
from hwroute.sim.memory.closed_form import stream_share
from hwroute.sim.memory.hbm import HbmMemory, bursts
from hwroute.sim.performance.moves import Moves
from hwroute.sim.performance.parameters import Parameters

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


class Ports:
    """Ports of a memory: when each is free, and what each moved.

    What all ports do alike is kept once, which is most of it.

    Parameters
    ----------
    count
        Of ports.
    duplex
        Writes do not wait for reads, nor reads for writes.

    Members
    -------
    written
        Bytes that were written to each port.
    moves
        When data moved.
    """

    def __init__(self, count: int, *, duplex: bool = False):
        self.count = count
        self.duplex = duplex
        self.moves = Moves()
        self._free: NDArray[np.float64] = np.zeros(count)
        self._write_free: NDArray[np.float64] = np.zeros(count)
        self._busy: NDArray[np.float64] = np.zeros(count)
        self._read: NDArray[np.int64] = np.zeros(count, np.int64)
        self.written: NDArray[np.int64] = np.zeros(count, np.int64)
        # Of all ports alike; the latest of all.
        self._all_free = self._all_busy = self._latest = 0.0
        self._all_read = 0

    @property
    def free(self) -> NDArray[np.float64]:
        """When each port is free."""
        return np.maximum(self._free, self._all_free)

    @property
    def busy(self) -> NDArray[np.float64]:
        """Cycles in which each port moved data."""
        return self._busy + self._all_busy

    @property
    def read(self) -> NDArray[np.int64]:
        """Bytes that were read from each port."""
        return self._read + self._all_read

    def claim(self, port: int, start: float, cycles: float, size: int, *, write: bool) -> float:
        """Move `size` bytes from `start` on at the earliest, and return the end."""
        if write and self.duplex:
            end = self._write_free[port] = max(start, float(self._write_free[port])) + cycles
        else:
            end = max(start, float(self._free[port]), self._all_free) + cycles
            self._free[port] = end
            self._latest = max(self._latest, end)
        self._busy[port] += cycles
        self.moves.add(end - cycles, end, 1)
        (self.written if write else self._read)[port] += size
        return end

    def claim_all(self, start: float, cycles: float, size: int) -> float:
        """Read `size` bytes of every port, side by side, and return the end."""
        end = max(start, self._latest) + cycles
        self._all_free = self._latest = end
        self.moves.add(end - cycles, end, self.count)
        self._all_busy += cycles
        self._all_read += size
        return end

    def pass_over(self, start: float, end: float, cycles: float, size: int) -> None:
        """Count `size` bytes that every port reads from `start` to `end`, when it has time."""
        self.moves.add(start, end, cycles * self.count / (end - start))
        self._all_busy += cycles
        self._all_read += size

    def note(
        self,
        start: float,
        ports: NDArray[np.int64],
        ends: NDArray[np.float64],
        cycles: NDArray[np.float64],
        sizes: NDArray[np.int64],
    ) -> None:
        """Note reads of some ports, each once, that begin at `start` or later and end then."""
        if len(ports):
            end = float(ends.max())
            self.moves.add(start, end, float(cycles.sum()) / (end - start))
            self._free[ports] = ends
            self._latest = max(self._latest, end)
            self._busy[ports] += cycles
            self._read[ports] += sizes


class Memories:
    """The memories of a machine.

    Parameters
    ----------
    ports
        Of HBM.
    rates
        Of one of them.
    ddr_latency
        Cycles from a request to its first data, besides the machine's own.
    ddr_beat_cycles
        Cycles of a beat of DDR.
    """

    def __init__(self, ports: int, rates: HbmRates, *, ddr_latency: float, ddr_beat_cycles: float):
        self.rates = rates
        self.hbm = Ports(ports, duplex=rates.duplex)
        self.ddr = Ports(1, duplex=rates.duplex)
        self.ddr_latency = ddr_latency
        self.ddr_beat_cycles = ddr_beat_cycles

    @classmethod
    def of_device(cls, device: Device, ports: int, beat_bits: int, free: Parameters) -> "Memories":
        """Return the memories of a board, `ports` of its channels in use."""
        rates = DeviceHbm(
            hbm=device.hbm, core_mhz=device.core_mhz, beat_bits=beat_bits, sample=free.run_sample
        )
        # Several ports of DDR are one that is as fast as all.
        beat = max(1.0, device.core_mhz / device.ddr.port_mhz) / free.ddr_ports / free.ddr_share
        latency = free.ddr_latency_cycles(device)
        return cls(ports, rates, ddr_latency=latency, ddr_beat_cycles=beat)

    def ddr_arrival(self, request: float) -> float:
        """Return when the first data come of a unit's request to read DDR, it being idle."""
        return request + self.ddr_latency + memory_timing.DDR_READ_CYCLES

    def move_ddr(self, start: float, lines: int, *, write: bool = False) -> float:
        """Move lines of DDR, and return when the last has passed the port, latency excluded."""
        beats = lines * LINE_BEATS
        size = beats * DDR_PORT.data_bits // 8
        return self.ddr.claim(0, start, beats * self.ddr_beat_cycles, size, write=write)

    def pass_over_ddr(self, start: float, end: float, lines: int) -> None:
        """Count lines that DDR reads from `start` to `end`, when it has time."""
        beats = lines * LINE_BEATS
        size = beats * DDR_PORT.data_bits // 8
        self.ddr.pass_over(start, end, beats * self.ddr_beat_cycles, size)
