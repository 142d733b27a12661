"""Take up values instructions: check where they lead."""

from typing import Any

from amaranth.hdl import Cat, Module, Signal, Value

from hwroute.config import Config
from hwroute.isa.fields import LINE_BYTES, LINE_ELEMENTS
from hwroute.rtl.attention_front import AttentionFront
from hwroute.rtl.pipeline import register
from hwroute.rtl.values_layouts import COPIED, job_layout


class ValuesFront(AttentionFront):
    """Make a job of each instruction, one after the other; see `AttentionFront`.

    Parameters
    ----------
    config
        Sizes of memories and array.
    """

    def __init__(self, config: Config):
        super().__init__(config, "values", job_layout(config), COPIED)

    def _check(
        self, m: Module, fields: Any, last_row: Signal, heads: tuple[Value, Value, Value]
    ) -> Signal:
        """Return whether an instruction with rows leads where it must not, a few cycles later."""
        memories, last_head = self.config.memory, fields.heads - 1
        own, count = fields.own, self.entries + fields.own
        _, last_kv, divides_not = heads
        pair = register(m, 1, last_row * fields.heads + last_head, "last_pair")
        out_row = register(m, 1, last_row * fields.out_pitch, "last_out_row")
        values = register(m, 1, fields.heads * (fields.head_lines + 1) - 1, "last_value")
        width = register(m, 1, (last_kv + 1) * fields.head_lines, "vector_end")
        out_lines = register(m, 1, 2 * fields.heads * fields.head_lines, "out_lines")
        scores = register(m, 1, fields.scores + pair * fields.scores_pitch, "last_scores")
        word = register(m, 1, fields.maximum + last_row + values * fields.pitch, "last_word")
        sums = register(m, 1, fields.sum + last_row + last_head * fields.pitch, "last_sum")
        score_lines = register(m, 1, (count + LINE_ELEMENTS - 1) >> 6, "score_lines")
        lines = memories.scratchpad_bytes // LINE_BYTES
        wrong = Cat(
            scores + score_lines > lines,
            fields.out + out_row + out_lines > lines,
            own & (fields.v + width > lines),
            word >= memories.statistics,
            sums >= memories.statistics,
            width > self.vector_lines,
            divides_not,
            ~count.any(),
        )
        return register(m, 1, wrong.any(), "wrong")
