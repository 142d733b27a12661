"""Write the maxima and references of a pass to the statistics memory."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwroute.config import Config
from hwroute.rtl.attention_layouts import EXPONENT_BITS
from hwroute.rtl.kv_layouts import bits
from hwroute.rtl.pipeline import register
from hwroute.rtl.scores_layouts import (
    HEAD_BITS,
    HEAD_LINE_BITS,
    PAIR_BITS,
    job_layout,
    pair_table,
    pair_write_layout,
)
from hwroute.rtl.softmax import MAXIMUM_SHAPE
from hwroute.rtl.statistics_layouts import StatisticsWritePort


class ScoresStatistics(wiring.Component):
    """Write for every row, head by head, the maximum and the references of its KV head's lines.

    A word a cycle, and a cycle more for each row.

    Parameters
    ----------
    config
        Of array and memories.

    Members
    -------
    job
        `hwroute.rtl.scores_layouts.job_layout`, stable.
    begin, done
        All maxima and references are found; all are written.
    rows
        Rows of the pass, stable.
    pair
        `hwroute.rtl.scores_layouts.pair_write_layout`.
    of_maximum, maximum
        Number of a pair, and its maximum.
    of_reference, reference
        Row and line of V as a pair, and its reference.
    write
        `hwroute.rtl.statistics_layouts.StatisticsWritePort`.
    """

    def __init__(self, config: Config):
        self.config = config
        rows = config.array.accumulator_rows
        super().__init__(
            {
                "job": In(job_layout(config)),
                "begin": In(1),
                "done": Out(1),
                "rows": In(range(rows + 1)),
                "pair": In(pair_write_layout(config)),
                "of_maximum": Out(PAIR_BITS),
                "maximum": In(MAXIMUM_SHAPE),
                "of_reference": Out(PAIR_BITS),
                "reference": In(EXPONENT_BITS),
                "write": Out(StatisticsWritePort()),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        job, request, values = self.job, self.write.request, self.write.values
        row, head = Signal(bits(self.config.array.accumulator_rows)), Signal(HEAD_BITS)
        pair, number, offset = Signal(PAIR_BITS), Signal(HEAD_LINE_BITS), Signal(PAIR_BITS)
        table = pair_table(m, self.pair, ("row", "reference"), pair)
        word = Signal(MAXIMUM_SHAPE)
        ends_head, ends_row = Signal(), Signal()
        m.d.comb += [
            self.of_maximum.eq(pair),
            self.of_reference.eq(table.reference + offset),
            word.eq(Mux(number.any(), self.reference, self.maximum)),
            values.payload.eq(word.as_signed()),
            ends_head.eq(number == job.head_lines),
            ends_row.eq(ends_head & (head == job.heads - 1)),
            request.payload.first.eq(job.maximum + table.row),
            request.payload.pitch.eq(job.pitch),
            request.payload.values.eq(
                register(m, 1, job.heads * (job.head_lines + 1), "values_of_row")
            ),
        ]
        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += [row.eq(0), head.eq(0), pair.eq(0), number.eq(0), offset.eq(0)]
                with m.If(self.begin):
                    m.next = "ASK"
            with m.State("ASK"):
                m.d.comb += request.valid.eq(1)
                with m.If(request.ready):
                    m.next = "WORDS"
            with m.State("WORDS"):
                m.d.comb += values.valid.eq(1)
                with m.If(values.ready):
                    m.d.sync += [number.eq(number + 1)]
                    with m.If(number.any()):
                        m.d.sync += offset.eq(offset + self.rows)
                    with m.If(ends_head):
                        m.d.sync += [number.eq(0), offset.eq(0), head.eq(head + 1)]
                        m.d.sync += pair.eq(pair + self.rows)
                    with m.If(ends_row):
                        m.d.sync += [head.eq(0), row.eq(row + 1), pair.eq(row + 1)]
                        m.next = "ASK"
                        with m.If(row == self.rows - 1):
                            m.d.comb += self.done.eq(1)
                            m.next = "IDLE"
        return m
