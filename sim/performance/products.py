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
from hwroute.rtl.column_ports import WEIGHT_ROWS
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
    batch, tile_rows
        Chunks, and rows of a tile.
    tile_cycles, beat_cycles
        In which its tiles are put together, and in which the array takes its beats of x.
    tiles
        Number of tiles.
    """

    beats: int
    scale_lines: int
    batch: int
    tile_rows: int
    tile_cycles: int
    beat_cycles: int
    tiles: int


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

    @property
    def _tracks(self) -> int:
        """Blocks of a batch, as `MatmulShape.spreads` has it."""
        shape = self.shape
        spread = self.rows < timing.ARRAY_BEAT_DISTANCE and self.rows * shape.tracks <= shape.rows
        return shape.tracks if spread else 1

    def stripes(self) -> Iterator[tuple[Stripe, int]]:
        """Yield the stripes in order, with how many that are alike follow each other."""
        shape, lines = self.shape, self.one["lines"]
        blocks = -(-self.one["columns"] // shape.columns)
        tracks = self._tracks
        cuts = [min(shape.chunk_lines, lines - at) for at in range(0, lines, shape.chunk_lines)]
        while blocks > 0:
            batch = min(tracks, blocks)
            before = [self._stripe(batch, cuts[0], ends=False)] * (len(cuts) - 1)
            parts = [*before, self._stripe(batch, cuts[-1], ends=True)]
            repeats = blocks // batch if batch == tracks else 1
            if all(part == parts[-1] for part in before[:1]):
                yield parts[0], len(parts) * repeats
            else:
                yield from ((part, 1) for _ in range(repeats) for part in parts)
            blocks -= batch * repeats

    def _stripe(self, batch: int, lines: int, *, ends: bool) -> Stripe:
        shape = self.shape
        groups = -(-lines // shape.group_lines)
        # A line waits for the sums of the one before; what follows a block's last one does not.
        apart = max(batch * self.rows, timing.ARRAY_BEAT_DISTANCE)
        last = batch * self.rows if ends else apart
        return Stripe(
            beats=-(-lines * shape.columns // shape.ports) * batch,
            scale_lines=groups * batch * shape.scale_beats // LINE_BEATS,
            batch=batch,
            tile_rows=shape.tile_rows,
            tile_cycles=lines * batch * shape.tile_rows,
            beat_cycles=(lines - 1) * apart + last,
            tiles=lines * batch,
        )

    def tail_cycles(self) -> int:
        """Return the cycles from the last beat's turn to the end."""
        one = self.one
        # A row's results are written while those of the next are on their way.
        columns = min(one["columns"], self.shape.columns)
        wide = 2 if one.choice("format") == "fp32" else 1
        return matmul_tail_cycles(
            self.config, lines=lines_of(wide * columns), last=bool(one["last"])
        )


class Ring:
    """The rings of weights and scales, and the array behind them.

    Parameters
    ----------
    memories
        Of the machine.
    stripes
        That are on their way, wait or are worked on.

    Members
    -------
    taken
        When the array has taken the last stripe's beats.
    asked
        When the last stripe was asked for.
    """

    def __init__(self, memories: Memories, stripes: int = STRIPES):
        self.memories = memories
        self.stripes = stripes
        self._beat_cycles = memories.rates.stream_cycles(1)
        self._read_cycles = memories.rates.read_cycles
        self.taken = 0.0
        self.asked = 0.0
        self._tiled = 0.0
        self._alike = 0
        self._released: deque[float] = deque([0.0] * stripes, maxlen=stripes)

    def asks(self, job: float) -> float:
        """Return when the next stripe of a job may be asked for."""
        return max(job + timing.MATMUL_REQUEST_CYCLES, self.asked, self._released[0])

    def take(self, stripe: Stripe, ready: float) -> float:
        """Read a stripe, asked for now, and work on it when the input is `ready`."""
        memories, asked, before = self.memories, self.asked, self.taken
        arrives = asked + self._read_cycles
        cycles = stripe.beats * self._beat_cycles
        weights = memories.hbm.claim_all(arrives, cycles, stripe.beats * BEAT_BYTES)
        scale = memories.ddr_arrival(asked)
        scales = memories.move_ddr(scale, stripe.scale_lines)
        # Tiles go line by line through the chunks, which come one after the other.
        lag = cycles * (stripe.batch - 1) / stripe.batch + stripe.tile_rows - 1
        begin = max(weights - cycles + lag, scale, self._tiled)
        arrived = max(weights, scales)
        tiled = max(begin + stripe.tile_cycles, arrived)
        way = timing.MATMUL_TILE_CYCLES + 1
        start = max(begin + way, self.taken, ready)
        self.taken = max(start + stripe.beat_cycles, tiled - stripe.tile_rows + way + 1)
        # So many tiles wait in front of the array.
        self._tiled = max(tiled, self.taken - WEIGHT_ROWS * stripe.beat_cycles / stripe.tiles)
        self._released.append(self._tiled)
        self._alike = self._alike + 1 if self.taken - before == stripe.beat_cycles else 0
        return self.taken

    def bound(self, stripe: Stripe) -> bool:
        """Tell whether the array is what limits: more stripes alike only take their beats.

        It has been for as many stripes as the rings hold, and memory is at most half as busy.
        """
        ddr = stripe.scale_lines * LINE_BEATS * self.memories.ddr_beat_cycles
        streams = max(stripe.beats * self._beat_cycles, ddr, stripe.tile_cycles)
        return self._alike >= 2 * self.stripes and 2 * streams <= stripe.beat_cycles

    def skip(self, stripe: Stripe, count: int) -> float:
        """Take stripes that only take their beats, at once; return when the array has them."""
        cycles, before = count * stripe.beat_cycles, self.taken
        self.taken += cycles
        self._tiled += cycles
        self._released = deque((one + cycles for one in self._released), maxlen=self.stripes)
        memories, beats = self.memories, count * stripe.beats
        streams = beats * self._beat_cycles
        memories.hbm.pass_over(before, self.taken, streams, beats * BEAT_BYTES)
        memories.pass_over_ddr(before, self.taken, count * stripe.scale_lines)
        return self.taken
