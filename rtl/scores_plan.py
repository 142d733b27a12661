"""Find out where queries and scores of the pairs of a pass are."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwroute.config import Config
from hwroute.rtl.kv_layouts import bits
from hwroute.rtl.pipeline import delay, register
from hwroute.rtl.row_list_layouts import ROW_BITS
from hwroute.rtl.scores_layouts import HEAD_BITS, PAIR_BITS, job_layout, pair_write_layout

PLACE_CYCLES = 3


class ScoresPlan(wiring.Component):
    """Write a pass's pairs into the tables of the parts, one a cycle, head by head.

    Latency 3 cycles.

    Parameters
    ----------
    config
        Of array and memories.

    Members
    -------
    job
        `hwroute.rtl.scores_layouts.job_layout`, stable.
    begin, done
        The pass begins; the last of its pairs is written.
    base, rows
        Index of the pass's first row, and how many it has; stable.
    row_index, row
        Index in the table of the job's rows, and the row there.
    o
        `hwroute.rtl.scores_layouts.pair_write_layout`.
    """

    def __init__(self, config: Config):
        self.config = config
        rows = config.array.accumulator_rows
        super().__init__(
            {
                "job": In(job_layout(config)),
                "begin": In(1),
                "done": Out(1),
                "base": In(bits(rows)),
                "rows": In(range(rows + 1)),
                "row_index": Out(bits(rows)),
                "row": In(ROW_BITS),
                "o": Out(pair_write_layout(config)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        job, walks, index = self.job, Signal(), Signal(PAIR_BITS)
        at, head, line = (
            Signal(bits(self.config.array.accumulator_rows)),
            Signal(HEAD_BITS),
            Signal(12),
        )
        group, left = Signal(HEAD_BITS), Signal(HEAD_BITS)
        last_row, last_head, ends = Signal(), Signal(), Signal()
        m.d.comb += [
            self.row_index.eq(self.base + at),
            last_row.eq(at == self.rows - 1),
            ends.eq(last_row & (group == 1)),
            last_head.eq(left == 1),
        ]
        with m.If(self.begin):
            m.d.sync += [
                walks.eq(1),
                index.eq(0),
                at.eq(0),
                head.eq(0),
                line.eq(0),
                group.eq(job.group),
                left.eq(job.heads),
            ]
        with m.Elif(walks):
            m.d.sync += [index.eq(index + 1), at.eq(Mux(last_row, 0, at + 1))]
            with m.If(last_row):
                m.d.sync += [
                    head.eq(head + 1),
                    left.eq(left - 1),
                    group.eq(Mux(ends, job.queries, group - 1)),
                    walks.eq(~last_head),
                ]
            with m.If(ends):
                m.d.sync += line.eq(line + job.head_lines)
        finishes = walks & last_row & last_head
        m.d.comb += self.done.eq(delay(m, 1, finishes, PLACE_CYCLES + 1, "finished"))
        # The last of a pass ends its KV head, whether or not the group is complete.
        self._place(m, walks, index, at, head, line, ends | finishes)
        return m

    def _place(
        self,
        m: Module,
        walks: Value,
        index: Value,
        at: Value,
        head: Value,
        line: Value,
        ends: Value,
    ) -> None:
        """Say where things are: products, products of those, sums."""
        job, pair = self.job, self.o.pair
        row = register(m, 1, self.row, "row_1")
        score_row = register(m, 1, self.row * job.heads + head, "score_row")
        q_row = delay(m, 1, self.row * job.q_pitch, 2, "q_row")
        q_line = delay(m, 1, head * job.head_lines, 2, "q_line")
        out = register(m, 1, score_row * job.out_pitch, "out_row")
        reference = register(m, 1, line * self.rows + at, "reference_1")
        token = register(m, 1, job.position + row, "token_2")
        largest = self.config.kv.max_tokens - 1
        places = {
            "q": job.q + q_row + q_line,
            "out": job.out + out,
            "token": Mux(token > largest, largest, token),
            "row": register(m, 1, row, "row_2"),
            "reference": register(m, 1, reference, "reference_2"),
        }
        for name, place in places.items():
            m.d.comb += pair[name].eq(register(m, 1, place[: len(pair[name])], f"{name}_place"))
        m.d.comb += [
            pair.ends.eq(delay(m, 1, ends, PLACE_CYCLES, "ends")),
            self.o.index.eq(delay(m, 1, index, PLACE_CYCLES, "index")),
            self.o.en.eq(delay(m, 1, walks, PLACE_CYCLES, "walked")),
        ]
