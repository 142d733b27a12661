"""Take up scores instructions: check where they lead."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value

from hwroute.config import Config
from hwroute.isa.fields import LINE_BYTES, LINE_ELEMENTS
from hwroute.rtl.attention_front import AttentionFront
from hwroute.rtl.pipeline import register
from hwroute.rtl.scores_layouts import COPIED, PAIRS, job_layout


class ScoresFront(AttentionFront):
    """Make a job of each instruction, one after the other; see `AttentionFront`.

    One is also in error with more lines of K than `PAIRS`, or, where a head has several lines, with
    more query heads in a group than accumulator rows.

    Parameters
    ----------
    config
        Sizes of memories and array.
    """

    def __init__(self, config: Config):
        super().__init__(config, "scores", job_layout(config), COPIED)

    def _check(
        self, m: Module, fields: Any, last_row: Signal, heads: tuple[Value, Value, Value]
    ) -> Signal:
        """Return whether an instruction with rows leads where it must not, a few cycles later."""
        memories, last_head = self.config.memory, fields.heads - 1
        own, count = fields.own, self.entries + fields.own
        first_kv, last_kv, divides_not = heads
        m.d.comb += self.job.lines.eq(
            register(m, 1, (last_kv - first_kv + 1)[:9] * fields.head_lines, "lines")
        )
        pair = register(m, 1, last_row * fields.heads + last_head, "last_pair")
        q_row = register(m, 1, last_row * fields.q_pitch, "last_q_row")
        values = register(m, 1, fields.heads * (fields.head_lines + 1) - 1, "last_value")
        width = register(m, 1, (last_kv + 1) * fields.head_lines, "vector_end")
        q_lines = register(m, 1, fields.heads * fields.head_lines, "q_lines")
        out = register(m, 1, fields.out + pair * fields.out_pitch, "last_out")
        word = register(m, 1, fields.maximum + last_row + values * fields.pitch, "last_word")
        score_lines = register(m, 1, (count + LINE_ELEMENTS - 1) >> 6, "score_lines")
        lines = memories.scratchpad_bytes // LINE_BYTES
        # Rows of partial sums of a group are there until the last line of the head.
        group = Mux(fields.heads < fields.queries, fields.heads, fields.queries)
        wrong = Cat(
            out + score_lines > lines,
            fields.q + q_row + q_lines > lines,
            own & (fields.k + width > lines),
            word >= memories.statistics,
            width > self.vector_lines,
            divides_not,
            ~count.any(),
            (fields.head_lines > 1) & (group > self.rows),
            self.job.lines > PAIRS,
        )
        return register(m, 1, wrong.any(), "wrong")
