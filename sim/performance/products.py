"""How a matmul streams its matrix: stripes of weights and scales through the array's rings.

The structure is that of `hwroute.rtl.matmul`: a ring of `STRIPES` stripes is filled ahead of the
array, across the instructions that have been issued.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from hwroute import timing
from hwroute.config import Config
from hwroute.isa.fields import BEAT_BYTES, lines_of
from hwroute.isa.instruction import Instruction
from hwroute.rtl.axi import LINE_BEATS
from hwroute.rtl.matmul_layouts import STRIPES, MatmulShape
from hwroute.sim.performance.costs import matmul_tail_cycles
from hwroute.sim.performance.memory import Memories


@dataclass(frozen=True, kw_only=True)
class Stripe:
    """Chunks of the same lines of the blocks of a batch.

    Parameters
    ----------
    beats, scale_lines
        Of each HBM port, and of DDR.
    cycles
        That the array works on it.
    """

    beats: int
    scale_lines: int
    cycles: int


class Product:
    """A matmul instruction cut into stripes.

    Parameters
    ----------
    config
        Of the machine.
    one, rows
        Instruction, and rows that it is for.
    """

    def __init__(self, config: Config, one: Instruction, rows: int):
        self.config = config
        self.shape = MatmulShape.of(config)
        self.one = one
        self.rows = rows

    def stripes(self) -> Iterator[Stripe]:
        """Yield the stripes in order."""
        shape, lines = self.shape, self.one["lines"]
        blocks = -(-self.one["columns"] // shape.columns)
        spread = self.rows < timing.ARRAY_BEAT_DISTANCE and self.rows * shape.tracks <= shape.rows
        tracks = shape.tracks if spread else 1
        cuts = [min(shape.chunk_lines, lines - at) for at in range(0, lines, shape.chunk_lines)]
        while blocks > 0:
            batch = min(tracks, blocks)
            parts = [self._stripe(batch, part) for part in cuts]
            repeats = blocks // batch if batch == tracks else 1
            for _ in range(repeats):
                yield from parts
            blocks -= batch * repeats

    def _stripe(self, batch: int, lines: int) -> Stripe:
        shape = self.shape
        groups = -(-lines // shape.group_lines)
        line = batch * max(self.rows, shape.tile_rows)
        return Stripe(
            beats=-(-lines * shape.columns // shape.ports) * batch,
            scale_lines=groups * batch * shape.scale_beats // LINE_BEATS,
            cycles=lines * max(line, timing.ARRAY_BEAT_DISTANCE),
        )

    def tail_cycles(self) -> int:
        """Return the cycles from the last stripe to the end."""
        last = bool(self.one["last"])
        # What the last batch makes; the results of those before are written beside the stream.
        columns = min(self.one["columns"], self.shape.columns)
        wide = 2 if self.one.choice("format") == "fp32" else 1
        written = self.rows * lines_of(wide * columns)
        return matmul_tail_cycles(self.config, lines=written, last=last)


class Ring:
    """The rings of weights and scales, and the array behind them.

    Parameters
    ----------
    memories
        Of the machine.

    Members
    -------
    taken
        When the array has worked off the last stripe.
    asked
        When the last stripe was asked for.
    """

    def __init__(self, memories: Memories):
        self.memories = memories
        self._beat_cycles = memories.rates.stream_cycles(1)
        self.taken = 0.0
        self.asked = 0.0
        self._released: deque[float] = deque([0.0] * STRIPES, maxlen=STRIPES)

    def asks(self, job: float) -> float:
        """Return when the next stripe of a job may be asked for."""
        return max(job + timing.MATMUL_REQUEST_CYCLES, self.asked, self._released[0])

    def take(self, stripe: Stripe, ready: float) -> float:
        """Read a stripe, asked for now, and work on it when the input is `ready`."""
        memories, asked = self.memories, self.asked
        arrives = asked + memories.rates.latency + timing.HBM_READ_CYCLES
        cycles = stripe.beats * self._beat_cycles
        weights = memories.hbm.claim_all(arrives, cycles, stripe.beats * BEAT_BYTES)
        scale = asked + memories.ddr_latency + timing.READ_SHARE_CYCLES
        scales = memories.move_ddr(scale, stripe.scale_lines)
        # A tile is worked on as soon as it is there.
        there = max(weights - cycles, scale) + timing.MATMUL_TILE_CYCLES
        begin = max(there, self.taken, ready)
        self.taken = max(begin + stripe.cycles, max(weights, scales) + timing.MATMUL_TILE_CYCLES)
        self._released.append(self.taken)
        return self.taken
