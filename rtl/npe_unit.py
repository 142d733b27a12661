"""The NPE of the machine: runs instructions on rows of the tile."""

from typing import Any

from amaranth.hdl import Module, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out, connect, flipped

from hwroute.config import Config
from hwroute.rtl.decoder import fields_of
from hwroute.rtl.fused_reduction import FusedReduction
from hwroute.rtl.issue_layouts import DONE, ISSUED
from hwroute.rtl.npe import NPE
from hwroute.rtl.npe_feed import OPERAND_NAMES, LineFeed
from hwroute.rtl.npe_operands import OPERANDS, decode_operands
from hwroute.rtl.npe_results import LineResults
from hwroute.rtl.npe_rows import RowPlaces
from hwroute.rtl.npe_steps import LineSteps
from hwroute.rtl.row_list_layouts import RowListPort
from hwroute.rtl.scratchpad_layouts import ReadPort, WritePort
from hwroute.rtl.statistics_layouts import (
    WORD_NUMBER_BITS,
    StatisticsReadPort,
    StatisticsWritePort,
)

WORDS_QUEUE = 16
"""Rows whose statistics are still to be read: as many as have lines on the way."""
TAIL_CYCLES = 2
"""From the last write to its error, if it has one."""


class NPEUnit(wiring.Component):
    """Run NPE instructions: rows of a plane, line by line, through the vector datapath.

    One instruction at a time, so each reads what the ones before it have written; a line a cycle
    (swiglu, divide: of x), a reduction of fewer than `hwroute.timing.ROW_PERIOD_CYCLES` rows one in
    that many cycles for the lines of a row. Overhead of an instruction: `hwroute.timing`, "NPE of
    the machine". In place, or with results on lines that a row no longer reads: what is written
    within an instruction is not read by it.

    An instruction fails if the register ``rows`` is 0 or above the rows of a plane, or if it reads
    or writes beyond the end of a memory. What lies inside is then written nonetheless.

    Parameters
    ----------
    config
        Rounding, and rows of a plane: those of the accumulator.

    Members
    -------
    issue, done
        Streams of `hwroute.rtl.issue_layouts.ISSUED` and ``DONE``.
    rows
        `hwroute.rtl.row_list_layouts.RowListPort`.
    x, y, z, write
        Ports of the scratchpad (`hwroute.rtl.scratchpad_layouts`).
    statistics, statistics_write
        Ports of the statistics memory (`hwroute.rtl.statistics_layouts`).
    memory_error
        Any error bit of these ports.
    token_valid, token
        Result of an argmax, for the register of this name, before the instruction ends.
    saturated
        A conversion to FP16 saturated.
    """

    def __init__(self, config: Config):
        if not isinstance(config, Config):
            raise TypeError(f"Sizes must be a Config, not {config!r}")
        self.rounding = config.numerics.rounding
        self.tile = config.array.accumulator_rows
        super().__init__(
            {
                "issue": In(stream.Signature(ISSUED)),
                "done": Out(stream.Signature(DONE)),
                "rows": Out(RowListPort()),
                **{name: Out(ReadPort()) for name in OPERAND_NAMES},
                "write": Out(WritePort()),
                "statistics": Out(StatisticsReadPort()),
                "statistics_write": Out(StatisticsWritePort()),
                "memory_error": In(1),
                "token_valid": Out(1),
                "token": Out(32),
                "saturated": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.places = places = RowPlaces()
        m.submodules.steps = steps = LineSteps()
        m.submodules.feed = feed = LineFeed()
        m.submodules.results = results = LineResults()
        m.submodules.vector = vector = NPE(self.rounding)
        m.submodules.reduction = reduction = FusedReduction()
        connect(m, steps.o, feed.i)
        connect(m, feed.lines, vector.i)
        connect(m, feed.tiles, reduction.i)
        connect(m, vector.o, results.lines)
        connect(m, vector.token, results.tokens)
        connect(m, reduction.o, results.sums)
        connect(m, results.write, flipped(self.write))
        connect(m, results.statistics, flipped(self.statistics_write))
        connect(m, flipped(self.statistics.response), feed.statistic)
        for name in OPERAND_NAMES:
            connect(m, getattr(feed, name), flipped(getattr(self, name)))
        m.d.comb += [
            results.row_ends.eq(feed.row_ends),
            self.token_valid.eq(results.token_valid),
            self.token.eq(results.token),
            self.saturated.eq(results.saturated),
        ]
        one, operands = Signal(ISSUED), Signal(OPERANDS)
        decoded = Signal(OPERANDS)
        decode_operands(m, one.word, decoded)
        for part in (places, steps, feed, results):
            m.d.comb += part.operands.eq(operands)
        ended = self._announce(m, places, steps, results, operands)
        self._control(m, one, places, ended & results.idle)
        m.d.sync += operands.eq(decoded)
        return m

    def _announce(self, m: Module, places: Any, steps: Any, results: Any, operands: Any) -> Signal:
        """Give each row to the steps and the results, and ask for its statistics.

        Return whether all rows of the instruction are given.
        """
        place, ended = places.o.payload, Signal()
        request = self.statistics.request
        # A queue, so that rows of few lines do not wait for the statistics of the rows before.
        m.submodules.words = words = SyncFIFOBuffered(width=WORD_NUMBER_BITS, depth=WORDS_QUEUE)
        has_row, taken = places.o.valid & ~place.empty, Signal()
        m.d.comb += [
            taken.eq(has_row & results.rows.ready & steps.i.ready & words.w_rdy),
            places.o.ready.eq(taken | place.empty),
            words.w_en.eq(taken & operands.reads_statistic),
            words.w_data.eq(place.statistic),
            request.valid.eq(words.r_rdy),
            words.r_en.eq(request.ready),
            request.payload.first.eq(words.r_data),
            request.payload.pitch.eq(operands.statistic_pitch),
            request.payload.values.eq(operands.heads),
            steps.i.valid.eq(taken),
            steps.i.payload.eq(place),
            results.rows.valid.eq(taken),
            results.rows.payload.eq(place.out),
        ]
        with m.If(places.o.valid & places.o.ready & place.last):
            m.d.sync += ended.eq(1)
        with m.If(self.done.valid):
            m.d.sync += ended.eq(0)
        return ended

    def _control(self, m: Module, one: Any, places: Any, finished: Value) -> None:
        """Take an instruction, let its rows come, and answer when all is written."""
        failed, tail = Signal(), Signal(range(TAIL_CYCLES + 1))
        rows_fit = (one.rows != 0) & (one.rows <= self.tile)
        connect(m, flipped(self.rows.rows), places.i)
        m.d.comb += [
            self.rows.request.payload.plane.eq(fields_of(one.word, "reduce").plane),
            self.rows.request.payload.rows.eq(one.rows),
            self.done.payload.index.eq(one.index),
            self.done.payload.error.eq(failed),
        ]
        with m.If(self.memory_error):
            m.d.sync += failed.eq(1)
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.issue.ready.eq(1)
                m.d.sync += [one.eq(self.issue.payload), failed.eq(0), tail.eq(0)]
                with m.If(self.issue.valid):
                    m.next = "CHECK"
            with m.State("CHECK"):
                m.next = "ASK"
                with m.If(~rows_fit):
                    m.d.sync += failed.eq(1)
                    m.next = "DONE"
            with m.State("ASK"):
                m.d.comb += self.rows.request.valid.eq(1)
                with m.If(self.rows.request.ready):
                    m.next = "RUN"
            with m.State("RUN"):
                m.d.sync += tail.eq(0)
                with m.If(finished):
                    m.d.sync += tail.eq(tail + 1)
                    with m.If(tail == TAIL_CYCLES):
                        m.next = "DONE"
            with m.State("DONE"):
                m.d.comb += self.done.valid.eq(1)
                with m.If(self.done.ready):
                    m.next = "IDLE"
