"""Memory that is asked ahead of the array: when, how far, and what a wrong guess costs.

Ports serve requests in the order of the Program, so a request that could have been made earlier is
put where its port was free: it moves data from then on, as far as there is room for them.
"""

import numpy as np
import simpy
from numpy.typing import NDArray

from hwroute import timing
from hwroute.config import Config
from hwroute.isa.fields import BEAT_BYTES, LINE_BYTES
from hwroute.rtl.axi import LINE_BEATS
from hwroute.rtl.matmul_layouts import MatmulShape
from hwroute.sim.performance.mechanisms import Mechanisms
from hwroute.sim.performance.memory import Memories, Ports
from hwroute.sim.performance.reader import Early, Reader
from hwroute.sim.performance.result import Traffic
from hwroute.sim.performance.unit_queue import Item


class LoosePorts(Ports):
    """Ports that need not wait for each other: what is before them is a FIFO for each."""

    def claim_all(self, start: float, cycles: float, size: int) -> float:
        """Read `size` bytes of every port, and return the end of the last."""
        self._free = np.maximum(self._free, start) + cycles
        end = self._latest = float(self._free.max())
        self.moves.add(end - cycles, end, self.count)
        self._all_busy += cycles
        self._all_read += size
        return end

    def drop(self, until: float, most: int, beat_cycles: float) -> NDArray[np.int64]:
        """Read beats that nobody wants, from when a port is free; return how many of each.

        Parameters
        ----------
        until
            When no more are asked for.
        most
            For which there is room.
        beat_cycles
            Of each beat.
        """
        beats = np.clip((until - self._free) / beat_cycles, 0, most).astype(np.int64)
        start = float(self._free.min())
        self._free = self._free + beats * beat_cycles
        self._busy += beats * beat_cycles
        self._read += beats * BEAT_BYTES
        end = self._latest = float(self._free.max())
        if beats.any():
            self.moves.add(start, end, float(beats.sum()) * beat_cycles / (end - start))
        return beats


class Ahead:
    """When memory may be asked for what an instruction of the array reads.

    Parameters
    ----------
    env, config, memories, mechanisms, traffic
        Of the machine.

    Members
    -------
    ordered
        When the last order of entries was made.
    """

    def __init__(
        self,
        env: simpy.Environment,
        config: Config,
        memories: Memories,
        mechanisms: Mechanisms,
        traffic: Traffic,
    ):
        self.env = env
        self.memories = memories
        self.mechanisms = mechanisms
        self.traffic = traffic
        self.ordered = 0.0
        shape = MatmulShape.of(config)
        # A stripe of a full batch; its scales take as many lines of DDR for each beat of a port.
        self._beats = mechanisms.speculated_stripes * shape.chunk_beats * shape.tracks
        self._lines = shape.scale_beats / LINE_BEATS * shape.chunk_groups / shape.chunk_beats
        # When the last branch was decided, and the last that was taken; what may be asked before.
        self._decided = self._taken = 0.0
        self._early = 0

    def knows(self, item: Item, starts: float) -> float:
        """Return when memory may be asked for the next data of an instruction that `starts` then.

        Of a matmul these are a stripe; of attention, K or V of all entries.
        """
        if not self.mechanisms.run_ahead:
            return starts
        known = item.event.handed + timing.UNIT_QUEUE_CYCLES
        if self.mechanisms.speculated_stripes:
            # The readers go through the Program on their own, up to a branch or some way further.
            known = self._decided
            if item.one.name == "matmul" and self._early:
                self._early -= 1
                known = self._taken
        if item.one.name != "matmul":
            known = max(known, self.ordered)
        return min(starts, known)

    @property
    def guessing(self) -> bool:
        """Whether stripes to come may have been asked for before a branch was decided."""
        return self._early > 0

    def early(self, item: Item) -> Early | None:
        """Return when K or V of an instruction may be asked for before it starts."""
        if not self.mechanisms.run_ahead:
            return None
        return Early(self.knows(item, float(self.env.now)), item.one.name == "values")

    def window(self, start: float, reader: Reader) -> tuple[float, float]:
        """Return from when to when K or V were read for an instruction that began at `start`.

        Of ports that run ahead, on average: one that is done goes on to what comes behind.
        """
        if self.mechanisms.run_ahead:
            return reader.begun, reader.ended
        return start, reader.done

    def decided(self, taken: bool) -> None:
        """Note that a branch over a sub-layer is decided now; if `taken`, drop its weights."""
        memories, ports = self.memories, self.memories.hbm
        self._decided = float(self.env.now)
        self._early = self.mechanisms.speculated_stripes
        if not taken:
            return
        self._taken = self._decided
        if not self.mechanisms.speculated_stripes or not isinstance(ports, LoosePorts):
            return
        # What is on its way at the decision comes in any case.
        until = self.env.now + memories.rates.read_cycles
        beats = ports.drop(until, self._beats, memories.rates.stream_cycles(1))
        lines = int(beats.max() * self._lines)
        memories.move_ddr(self.env.now - lines * LINE_BEATS * memories.ddr_beat_cycles, lines)
        self.traffic.add("dropped", int(beats.sum()) * BEAT_BYTES)
        self.traffic.add("dropped_scales", lines * LINE_BYTES)
