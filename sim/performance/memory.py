"""HBM and DDR as the machine's ports see them, in cycles of the machine's clock.

A request claims its port for as long as its data move; requests are served in the order in which
they are made.
"""

import numpy as np
from numpy.typing import NDArray

from hwroute import memory_timing
from hwroute.rtl.axi import DDR_PORT, LINE_BEATS
from hwroute.sim.device import Device
from hwroute.sim.performance.hbm_rates import DeviceHbm, HbmRates
from hwroute.sim.performance.moves import Moves
from hwroute.sim.performance.parameters import Parameters


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
