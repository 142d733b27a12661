"""How a matmul streams its matrix: stripes of weights and scales through the array's rings.

The structure is that of `hwroute.rtl.matmul`: a ring of `STRIPES` stripes is filled ahead of the
array, across the instructions that have been issued.
"""

from collections import deque
from collections.abc import Iterator

import numpy as np

from hwroute import timing
from hwroute.config import Config
from hwroute.isa.fields import BEAT_BYTES, lines_of
from hwroute.isa.instruction import Instruction
from hwroute.rtl.axi import LINE_BEATS
from hwroute.rtl.column_ports import WEIGHT_ROWS
from hwroute.rtl.matmul_layouts import STRIPES, MatmulShape
from hwroute.sim.performance.costs import matmul_tail_cycles
from hwroute.sim.performance.memory import Memories
from hwroute.sim.performance.stripes import Stripe, Stripes

SAME = 1e-6
"""Cycles that sums of cycles may be off by."""


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

    def stripes(self) -> Iterator[Stripes]:
        """Yield the stripes in order."""
        shape, lines = self.shape, self.one["lines"]
        blocks = -(-self.one["columns"] // shape.columns)
        tracks = self._tracks
        cuts = [min(shape.chunk_lines, lines - at) for at in range(0, lines, shape.chunk_lines)]
        while blocks > 0:
            batch = min(tracks, blocks)
            before = [self._stripe(batch, cuts[0], ends=False)] * (len(cuts) - 1)
            parts = [*before, self._stripe(batch, cuts[-1], ends=True)]
            repeats = blocks // batch if batch == tracks else 1
            yield Stripes(parts, repeats)
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
        # When the last stripe was asked for, brought and taken; how many were as much later
        # than the one before as their weights take; and which kinds of them.
        self._last: tuple[int, tuple[float, ...]] = (0, (0.0,) * 4)
        self._even, self._seen = 0, set[Stripe]()
        self._released: deque[float] = deque([0.0] * stripes, maxlen=stripes)

    def asks(self, job: float) -> float:
        """Return when the next stripe of a job may be asked for."""
        return max(job + timing.MATMUL_REQUEST_CYCLES, self.asked, self._released[0])

    def take(self, stripe: Stripe, ready: float) -> None:
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
        if -SAME < self.taken - before - cycles < SAME:
            self._note(stripe, cycles, (asked, weights, scales, self._tiled))
        else:
            self._even = 0

    def _note(self, stripe: Stripe, cycles: float, times: tuple[float, ...]) -> None:
        """Count stripes that are as much later than the one before as their weights take."""
        beats, before = self._last
        later = [now - then - cycles for now, then in zip(times, before, strict=True)]
        even = beats == stripe.beats and min(later) > -SAME and max(later) < SAME
        self._even = self._even + 1 if even else 0
        if self._even <= self.stripes:
            self._seen.clear()
        else:
            # All that the next one depends on is that much later, too.
            self._seen.add(stripe)
        self._last = stripe.beats, times

    def pass_over(self, rest: Stripes, job: float, until: float) -> None:
        """Take stripes that add nothing new at once.

        `until` then nobody else asks the memories for anything.
        """
        if self._bound(rest):
            self._skip(rest)
        elif self._even > self.stripes and self._seen.issuperset(rest.cuts):
            cycles = rest.cuts[0].beats * self._beat_cycles
            # The last one tells the memories how far all are.
            count = rest.count - 1
            if until < np.inf:
                count = min(count, int((until - self.asks(job)) / cycles))
            if count > 0:
                self._stream(rest.cuts[0], count, count * cycles)
                rest.skip(count)

    def _stream(self, stripe: Stripe, count: int, cycles: float) -> None:
        """Take stripes at the rate at which the ports of HBM bring them."""
        beats, times = self._last
        scales = times[2]
        memories = self.memories
        memories.hbm.claim_all(0.0, cycles, count * beats * BEAT_BYTES)
        if stripe.scale_lines:
            memories.pass_over_ddr(scales, scales + cycles, count * stripe.scale_lines)
        self._last = beats, tuple(one + cycles for one in times)
        self.asked += cycles
        self._later(cycles)

    def _later(self, cycles: float) -> None:
        self.taken += cycles
        self._tiled += cycles
        self._released = deque((one + cycles for one in self._released), maxlen=self.stripes)

    def _bound(self, rest: Stripes) -> bool:
        """Tell whether the array is what limits: more stripes only take their beats.

        It has been for as many stripes as the rings hold, and memory is at most half as busy.
        """
        return self._alike >= 2 * self.stripes and all(
            2 * max(one.beats * self._beat_cycles, self._ddr_cycles(one), one.tile_cycles)
            <= one.beat_cycles
            for one in rest.cuts
        )

    def _ddr_cycles(self, stripe: Stripe) -> float:
        return stripe.scale_lines * LINE_BEATS * self.memories.ddr_beat_cycles

    def _skip(self, rest: Stripes) -> None:
        """Take all stripes that are left; they only take their beats."""
        before, memories = self.taken, self.memories
        self._later(rest.beat_cycles)
        streams = rest.beats * self._beat_cycles
        memories.hbm.pass_over(before, self.taken, streams, rest.beats * BEAT_BYTES)
        memories.pass_over_ddr(before, self.taken, rest.scale_lines)
        rest.skip(rest.count)
