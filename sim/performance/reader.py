"""How the array goes through the entries of an order: sweeps, batches, sources.

`hwroute.rtl.attention_layouts` says what a sweep is. Each source (bank of the history buffer, port
of HBM) brings its entries one after the other, up to `timing.KV_READ_AHEAD_ENTRIES` ahead of the
array, which takes a batch when all its sources bring it.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hwroute import timing
from hwroute.config import Config
from hwroute.isa.fields import BEAT_BYTES, LINE_BYTES
from hwroute.rtl.column_ports import ColumnShape
from hwroute.rtl.kv_batches import DEPTH
from hwroute.sim.performance.batches import HIT, SOME, Batch, Batches
from hwroute.sim.performance.hbm_rates import Run
from hwroute.sim.performance.mechanisms import Mechanisms
from hwroute.sim.performance.memory import Memories
from hwroute.sim.performance.sweeps import Sweep
from hwroute.sim.performance.tiles import NEVER, Arrival, Lines, Tiles

Floats = NDArray[np.float64]


class Early(NamedTuple):
    """A sweep may be asked for at `time`; what the last one left may be in the way (`follows`)."""

    time: float
    follows: bool


@dataclass(kw_only=True)
class Reader:
    """The sources: what they bring, and when.

    Parameters
    ----------
    config, memories
        Of the machine.
    vector, exponents
        Beats of a K (or V) vector and of the exponents, as kv.map says.
    fifo_bytes
        Bytes that a source may hold ahead of the array, of at most
        `timing.KV_READ_AHEAD_ENTRIES` entries.
    mechanisms
        Switches `interleave_heads` and `kv_bits`.

    Members
    -------
    hit_bytes, handed_bytes
        Bytes that the history buffer served, and all that the array was given.
    early
        When the sources may be asked for the next sweep that begins, if before it begins.
    begun
        When a port was asked for the first sweep, or was free for it, on average.
    """

    config: Config
    memories: Memories
    vector: int
    exponents: int
    fifo_bytes: int
    mechanisms: Mechanisms = field(default_factory=Mechanisms)
    hit_bytes: int = 0
    handed_bytes: int = 0
    early: Early | None = None
    begun: float = 0.0

    def __post_init__(self) -> None:
        self._shape = ColumnShape.of(self.config)
        self._sources = self.config.kv.buffer_banks + self.config.kv.hbm_ports
        self._begun: NDArray[np.float64] = np.zeros((0, self._sources))
        self._waits = self.memories.rates.read_cycles

    @property
    def line_bytes(self) -> int:
        """Bytes of a line of K or V."""
        return LINE_BYTES * self.mechanisms.kv_bits // 16

    @property
    def line_beats(self) -> int:
        """Beats of a line."""
        return self.line_bytes // BEAT_BYTES

    @property
    def vector_lines(self) -> int:
        """Lines of a vector."""
        return self.vector // self.line_beats

    @property
    def line_period(self) -> float:
        """Cycles in which a source makes a line of its beats."""
        return self.line_bytes * 8 / self.config.kv.beat_bits

    @property
    def slot_beats(self) -> int:
        """Beats of a slot."""
        return 2 * self.vector + self.exponents

    @property
    def store_beats(self) -> int:
        """Beats of a slot on the machine's side, where no two parts share one."""
        wide = self.config.kv.beat_bits // (8 * BEAT_BYTES)
        return 2 * -(-self.vector // wide) + -(-self.exponents // wide)

    @property
    def slot_bytes(self) -> int:
        """Bytes of a slot."""
        return self.slot_beats * BEAT_BYTES

    @property
    def done(self) -> float:
        """When the last source has brought the last entry that was asked of it."""
        return float(self._ready.max())

    @property
    def ended(self) -> float:
        """When a port had brought the last entry that was asked of it, on average."""
        return float(self._ready[self.config.kv.buffer_banks :].mean())

    def begin(self, start: float, sweep: Sweep) -> None:
        """Make the sources ready for sweeps, the first of which is taken up at `start`.

        If it was asked for `early`, sources bring it before, as far as their FIFOs have room beside
        what the last sweep has left there.
        """
        early, self.early = self.early, None
        banks, total = self.config.kv.buffer_banks, self._sources
        asked = (start if early is None else min(start, early.time)) + timing.KV_REQUEST_CYCLES
        self._ready = np.full(total, asked)
        self._ready[banks:] = np.maximum(asked + self._waits, self.memories.hbm.free)
        self.begun = float(np.maximum(asked, self.memories.hbm.free).mean())
        self._walked = asked
        depth = DEPTH if early is None else timing.KV_READ_AHEAD_ENTRIES
        self._known = deque([-np.inf] * (depth + 1), maxlen=depth + 1)
        self.tiles = Tiles(self._shape, start)
        # When the array began with the entry that fills a source's FIFO, and when it had done with
        # the one that fills its queue.
        ahead = timing.KV_READ_AHEAD_ENTRIES
        fits = min(max(1, self.fifo_bytes // self.line_bytes // sweep.lines), ahead)
        if early is None or not early.follows or len(self._begun) != fits:
            self._begun = np.full((fits, total), asked)
            self._left = np.full((ahead, total), asked)
            self._turn = np.zeros(total, np.int64)

    def sweep(self, sweep: Sweep, cut: Batches, head_lines: int, taken: float) -> float:
        """Go through all entries, the array being free at `taken`; return when it is again."""
        runs = self._hbm_runs(sweep)
        costs = np.array([*(self._run_cycles(one) for one in runs), self.bank_beats(sweep)])
        waits = np.array([self._waits, self._waits, 0.0])
        ready, left, begun, tiles = self._ready, self._left, self._begun, self.tiles
        banks = self.config.kv.buffer_banks
        start = float(ready[banks:].min())
        tiles.taken = max(tiles.taken, taken)
        line = costs[SOME] * self.line_beats / sum(beats for _, beats in runs[SOME])
        tail = 0 if sweep.value else self.exponents
        for number, batch in enumerate(cut.batches):
            at, cycles = batch.sources, self.source_cycles(batch, costs)
            turn = self._turn[at]
            room = np.maximum(left[turn % len(left), at], begun[turn % len(begun), at])
            begin = np.maximum(ready[at], room + waits[batch.kinds])
            begin = np.maximum(begin, self._asks(len(at), number == 0) + waits[batch.kinds])
            ready[at] = end = begin + cycles
            come = begin + (line + timing.KV_LINE_CYCLES - 1)
            done = end + (timing.KV_LINE_CYCLES - 1 - tail)
            begun[turn % len(begun), at] = tiles.batch(
                Lines(
                    units=sweep.units,
                    groups=self._groups(batch, come, done),
                    period=self.line_period,
                    tail=tail,
                    value=sweep.value,
                    head_lines=self._apart(sweep, head_lines),
                )
            )
            left[turn % len(left), at] = tiles.loaded
            self._known.append(tiles.loaded)
            self._turn[at] = turn + 1
        self._walked += timing.KV_SWEEP_CYCLES
        self._note(start, cut, costs, [sum(beats for _, beats in one) * BEAT_BYTES for one in runs])
        size = sweep.lines * self.line_bytes
        self.hit_bytes += int(cut.counts[HIT].sum()) * size
        self.handed_bytes += int(cut.counts.sum()) * size
        return tiles.taken

    def _asks(self, count: int, first: bool) -> Floats:
        """Return when the `count` entries of a batch are asked for, the `first` of a sweep or not.

        An entry a cycle is handed out, and only while fewer than `DEPTH` batches wait; a batch is
        complete, and waits, when the first entry of the next one is handed out.
        """
        rest = self._known[1] + timing.KV_BATCH_CYCLES
        begin = max(self._walked, rest if first else self._known[0] + timing.KV_BATCH_CYCLES)
        asks: Floats = np.arange(count, dtype=np.float64) + max(begin, rest - 1)
        asks[0] = begin
        self._walked = float(asks[-1]) + 1
        return asks

    def source_cycles(self, batch: Batch, costs: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return what each source of a batch takes for it; `costs` are by kind of entry."""
        return costs[batch.kinds]

    def _note(
        self, start: float, cut: Batches, costs: NDArray[np.float64], sizes: list[int]
    ) -> None:
        """Tell the ports what they moved."""
        banks = self.config.kv.buffer_banks
        entries = cut.counts[: len(sizes), banks:]
        used = np.flatnonzero(entries.sum(axis=0))
        cycles, moved = costs[: len(sizes)] @ entries, np.array(sizes) @ entries
        ends = self._ready[banks:][used]
        self.memories.hbm.note(start, used, ends, cycles[used], moved[used])

    def _groups(self, batch: Batch, come: Floats, done: Floats) -> list[Arrival]:
        """Return when lines come for each beat of the loader: first and last of each source."""
        return [
            Arrival(come[one].max(), done[one].max()) if len(one) else NEVER for one in batch.groups
        ]

    def own(self, sweep: Sweep, head_lines: int) -> float:
        """Take the own entry, the last batch of a sweep; return when the array is free."""
        first = self.tiles.loaded + 1 + timing.SCRATCHPAD_READ_CYCLES
        self.tiles.batch(
            Lines(
                units=sweep.units,
                groups=[Arrival(first, first + sweep.lines - 1)],
                period=1,
                tail=0,
                value=sweep.value,
                head_lines=self._apart(sweep, head_lines),
            )
        )
        return self.tiles.taken

    def _apart(self, sweep: Sweep, head_lines: int) -> int:
        """Return how many lines that follow each other add to the same row."""
        heads = sum(sweep.units[::head_lines])
        in_turn = self.mechanisms.interleave_heads and heads >= timing.ARRAY_BEAT_DISTANCE
        return 1 if in_turn else head_lines

    def bank_beats(self, sweep: Sweep) -> float:
        """Return the beats that a bank gives of an entry, always whole."""
        wide = self.config.kv.beat_bits // (8 * BEAT_BYTES)
        return -(-(self.vector + (0 if sweep.value else self.exponents)) // wide)

    def _hbm_runs(self, sweep: Sweep) -> tuple[tuple[Run, ...], tuple[Run, ...]]:
        """Return what is read of an entry: as asked, and where the buffer keeps it."""
        line = self.line_bytes // BEAT_BYTES
        first, beats = sweep.line * line, sweep.lines * line
        behind = self.vector + self.exponents
        if sweep.value:
            return ((behind + first, beats),), ((behind, self.vector),)
        whole: tuple[Run, ...] = ((0, behind),)
        if first + beats == self.vector:
            return ((first, beats + self.exponents),), whole
        return ((first, beats), (self.vector, self.exponents)), whole

    def _run_cycles(self, runs: tuple[Run, ...]) -> float:
        return self.memories.rates.run_cycles(self.slot_beats, runs)

    @property
    def slot_cycles(self) -> float:
        """Cycles in which a port writes a slot."""
        whole = ((0, self.slot_beats),)
        return self.memories.rates.run_cycles(self.slot_beats, whole, write=True)

    def write_entry(self, start: float, port: int) -> float:
        """Write the slot of an entry, and return when its last beat has moved."""
        hbm = self.memories.hbm
        return hbm.claim(port, start, self.slot_cycles, self.slot_bytes, write=True)
