"""The `scores` instruction: queries by keys, around the PE array."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out, connect, flipped

from hwroute.config import Config
from hwroute.rtl.attention_layouts import (
    EXPONENT_BITS,
    batch_layout,
    source_count,
)
from hwroute.rtl.attention_ports import attention_members
from hwroute.rtl.kv_layouts import bits
from hwroute.rtl.scores_beats import ScoresBeats
from hwroute.rtl.scores_front import ScoresFront
from hwroute.rtl.scores_layouts import PAIRS
from hwroute.rtl.scores_plan import ScoresPlan
from hwroute.rtl.scores_references import ScoresReferences
from hwroute.rtl.scores_statistics import ScoresStatistics
from hwroute.rtl.scores_writer import ScoresWriter
from hwroute.rtl.streams import Fork
from hwroute.rtl.values_tiles import ValuesTiles

BATCHES = 4
"""Batches that are known to each part before it is done with the one before."""
BATCHES_IN_ARRAY = 16
"""Batches whose scores are to be written: a few beats each, as many as are under way."""


class ScoresControl(wiring.Component):
    """Run scores instructions on a PE array, as `hwroute.models.interpreter.array.Array` does.

    One instruction after the other, each in passes over all entries: as many rows at a time as
    `PAIRS` has room for with all their heads and with all lines of K, and, where a head has several
    lines, as there are accumulator rows for with a group of query heads.

    Parameters
    ----------
    config
        Sizes of array and memories; numerics.

    Members
    -------
    issue, done, list, read_x, read_y, write, ..., memory_error
        `hwroute.rtl.attention_ports.attention_members`; `read_x` of queries, `read_y` of the
        tile's own K.
    exponents_0, exponents_1, ...
        Streams of exponents of lines of V, of each source.
    overflow
        A score that its row attends to saturated.
    """

    def __init__(self, config: Config):
        if not isinstance(config, Config):
            raise TypeError(f"Sizes must be a Config, not {config!r}")
        self.config = config
        self.sources = source_count(config)
        exponent = stream.Signature(EXPONENT_BITS)
        super().__init__(
            attention_members(config)
            | {f"exponents_{source}": In(exponent) for source in range(self.sources)}
            | {"overflow": Out(1)}
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        config = self.config
        m.submodules.front = front = ScoresFront(config)
        m.submodules.plan = plan = ScoresPlan(config)
        m.submodules.beats = beats = ScoresBeats(config)
        m.submodules.references = references = ScoresReferences(config)
        m.submodules.writer = writer = ScoresWriter(config)
        m.submodules.statistics = statistics = ScoresStatistics(config)
        m.submodules.tiles = tiles = ValuesTiles(config)
        self._sequence(m, front, plan, beats, references, writer, statistics, tiles)
        connect(m, flipped(self.issue), front.issue)
        connect(m, front.done, flipped(self.done))
        connect(m, front.list, flipped(self.list))
        connect(m, beats.read, flipped(self.read_x))
        connect(m, beats.x, flipped(self.x))
        connect(m, beats.o, writer.i)
        connect(m, flipped(self.o), writer.rows)
        connect(m, writer.write, flipped(self.write))
        connect(m, statistics.write, flipped(self.statistics_write))
        m.d.comb += [
            front.entries.eq(self.entries),
            front.vector_lines.eq(self.vector_lines),
            front.memory_error.eq(self.memory_error),
            front.row_index.eq(plan.row_index),
            plan.row.eq(front.row),
            *(part.job.eq(front.job) for part in (plan, beats, references, writer, statistics)),
            *(part.pair.eq(plan.o) for part in (beats, references, writer, statistics)),
            writer.read.eq(statistics.of_maximum),
            statistics.maximum.eq(writer.maximum),
            references.read.eq(statistics.of_reference),
            statistics.reference.eq(references.reference),
            self.overflow.eq(writer.overflow),
        ]
        self._feed(m, front.job, beats, references, writer, tiles)
        return m

    def _sequence(
        self,
        m: Module,
        front: Any,
        plan: Any,
        beats: Any,
        references: Any,
        writer: Any,
        statistics: Any,
        tiles: Any,
    ) -> None:
        """Go through the rows in passes, as many rows as fit in each."""
        job, limit = front.job, self.config.array.accumulator_rows
        base, rows, left = Signal(bits(limit)), Signal(range(limit + 1)), Signal(range(limit + 1))
        pairs, lines, sums = (
            Signal(range(2 * PAIRS), name=name) for name in ("pairs", "lines", "sums")
        )
        begin, opened = Signal(), Signal()
        group = Mux(job.heads < job.queries, job.heads, job.queries)
        more = Signal()
        m.d.comb += [
            more.eq(
                (rows != left)
                & (pairs + job.heads <= PAIRS)
                & (lines + job.lines <= PAIRS)
                & ((job.head_lines == 1) | (sums + group <= limit))
            ),
            plan.base.eq(base),
            *(part.rows.eq(rows) for part in (plan, references, statistics)),
            beats.last_pair.eq(pairs - 1),
            self.sweep.payload.line.eq(job.line),
            self.sweep.payload.lines.eq(job.lines),
            *(part.begin.eq(begin) for part in (plan, writer)),
            *(part.begin.eq(plan.done) for part in (beats, references)),
            tiles.job.own.eq(job.own),
            tiles.i.payload.lines.eq(job.lines),
            tiles.i.valid.eq(opened),
        ]
        with m.If(begin):
            m.d.sync += opened.eq(1)
        with m.Elif(tiles.i.ready):
            m.d.sync += opened.eq(0)
        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += [base.eq(0), left.eq(job.rows)]
                m.d.sync += [rows.eq(0), pairs.eq(0), lines.eq(0), sums.eq(0)]
                with m.If(front.start):
                    m.next = "ROWS"
            with m.State("ROWS"):
                m.d.sync += [
                    rows.eq(rows + more),
                    pairs.eq(pairs + Mux(more, job.heads, 0)),
                    lines.eq(lines + Mux(more, job.lines, 0)),
                    sums.eq(sums + Mux(more & (job.head_lines > 1), group, 0)),
                ]
                with m.If(~more):
                    m.next = "SWEEP"
            with m.State("SWEEP"):
                m.d.comb += [self.sweep.valid.eq(1), begin.eq(self.sweep.ready)]
                with m.If(begin):
                    m.next = "PLAN"
            with m.State("PLAN"), m.If(plan.done):
                m.next = "RUN"
            with m.State("RUN"):
                idle = Cat(beats.idle, references.idle, writer.idle, ~opened).all()
                m.d.comb += statistics.begin.eq(idle)
                with m.If(idle):
                    m.next = "WRITE"
            with m.State("WRITE"), m.If(statistics.done):
                m.d.sync += [base.eq(base + rows), left.eq(left - rows)]
                m.d.sync += [rows.eq(0), pairs.eq(0), lines.eq(0), sums.eq(0)]
                m.d.comb += front.ended.eq(left == rows)
                m.next = "ROWS"
                with m.If(left == rows):
                    m.next = "IDLE"

    def _feed(
        self, m: Module, job: Any, beats: Any, references: Any, writer: Any, tiles: Any
    ) -> None:
        """Give batches to all parts, lines to the tiles, and the own K behind them."""
        layout = batch_layout(self.config)
        m.submodules.batches = fork = Fork(layout, ways=4)
        connect(m, flipped(self.batches), fork.i)
        connect(m, fork.o_0, tiles.batches)
        for way, (name, port) in enumerate(
            {"beats": beats, "references": references, "writer": writer}.items(), start=1
        ):
            # An empty order has one batch, without entries.
            batch = getattr(fork, f"o_{way}")
            counts = batch.payload.count.any()
            kept = batch.payload.last if port is beats else batch.payload
            width = 1 if port is beats else layout.size
            depth = BATCHES_IN_ARRAY if port is writer else BATCHES
            m.submodules[f"{name}_batches"] = queue = SyncFIFOBuffered(width=width, depth=depth)
            m.d.comb += [
                batch.ready.eq(queue.w_rdy),
                queue.w_en.eq(batch.valid & counts),
                queue.w_data.eq(kept),
                port.batches.valid.eq(queue.r_rdy),
                port.batches.payload.eq(queue.r_data),
                queue.r_en.eq(port.batches.ready),
            ]
        for source in range(self.sources):
            lines, exponents = f"lines_{source}", f"exponents_{source}"
            connect(m, flipped(getattr(self, lines)), getattr(tiles, lines))
            connect(m, flipped(getattr(self, exponents)), getattr(references, exponents))
        m.d.comb += [
            self.kv.valid.eq(tiles.kv.valid),
            self.kv.payload.vectors.eq(tiles.kv.payload.vectors),
            self.kv.payload.last.eq(tiles.kv.payload.last),
            tiles.kv.ready.eq(self.kv.ready),
        ]
        left, line = Signal.like(job.lines), Signal.like(job.line)
        request = self.read_y.request
        connect(m, flipped(self.read_y.response), tiles.own)
        m.d.comb += [request.valid.eq(left.any()), request.payload.line.eq(job.k + line)]
        with m.If(tiles.multiply):
            m.d.sync += [left.eq(job.lines), line.eq(job.line)]
        with m.Elif(request.valid & request.ready):
            m.d.sync += [left.eq(left - 1), line.eq(line + 1)]
