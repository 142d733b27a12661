"""Lower the two passes of an attention over its entries, a few heads at a time."""

from hwroute.compiler.context import Body, Target
from hwroute.compiler.draft import At, Matrix, Span, Value
from hwroute.isa.fields import LINE_ELEMENTS, lines_of


def write_attention(
    body: Body,
    target: Target,
    *,
    q: Matrix,
    k: Matrix,
    v: Matrix,
    out: Matrix,
    reads: tuple[Span, ...],
) -> None:
    """Write scores, values and division for all heads.

    A prefill takes heads by pairs, whose scores fit the scratchpad for a whole tile; a decode step
    takes all heads at once, so that an entry is read in one run. The division of a pass stands
    behind the values of the next, which need not wait for it.

    Parameters
    ----------
    q, k, v
        Queries, and the tile's keys and values.
    out
        Heads without padding.
    reads
        State that both passes depend on.
    """
    heads = target.shape.heads
    waiting: list[_Pass] = []
    for first in range(0, heads, body.plan.heads):
        one = _Pass(body, target, range(first, min(first + body.plan.heads, heads)))
        one.write_scores(q, k, reads)
        one.write_values(v, reads)
        waiting.append(one)
        if len(waiting) > 1:
            waiting.pop(0).write_division(out)
    waiting.pop().write_division(out)


class _Pass:
    """Both passes over the entries for a range of query heads."""

    def __init__(self, body: Body, target: Target, heads: range):
        self.body = body
        self.heads = heads
        self.head_dim = target.shape.head_dim
        self.head_lines = target.entry.head_lines
        self.pitch = lines_of(target.memory.context)
        name = f"{body.operation}.{heads.start}"
        self.scores = body.matrix(f"{name}.scores", len(heads) * self.pitch)
        self.sums = body.matrix(f"{name}.sums", len(heads) * 2 * self.head_lines)
        self.maximum = body.statistic(f"{name}.maximum", len(heads) * (1 + self.head_lines))
        self.sum = body.statistic(f"{name}.sum", len(heads))
        self.common: dict[str, Value] = {
            "heads": len(heads),
            "first": heads.start,
            "queries": target.shape.queries_per_kv,
            "head_lines": self.head_lines,
            "own": int(body.plan.decode),
            "pitch": body.plan.words,
        }
        self.note = f"heads {heads.start} to {heads.stop - 1}"

    def own(self, matrix: Matrix) -> tuple[Span, ...]:
        """Return what a pass reads of the tile's own K or V."""
        return (matrix.span(),) if self.body.plan.decode else ()

    def write_scores(self, q: Matrix, k: Matrix, reads: tuple[Span, ...]) -> None:
        """Write the first pass: scores, maxima and reference exponents."""
        lines = range(self.heads.start * self.head_lines, self.heads.stop * self.head_lines)
        attend, self.body.operation = self.body.operation, self._sibling("scores")
        self.body.emit(
            "scores",
            {
                **q.fields("q", lines.start),
                **k.fields("k"),
                "out": At(self.scores.buffer),
                "out_pitch": self.pitch,
                **self.common,
                "maximum": At(self.maximum),
            },
            reads=(q.span(lines.start, lines.stop), *self.own(k), *reads),
            writes=(self.scores.span(), Span(self.maximum)),
            note=self.note,
        )
        self.body.operation = attend

    def write_values(self, v: Matrix, reads: tuple[Span, ...]) -> None:
        """Write the second pass: probabilities by values, and the sum of probabilities."""
        self.body.emit(
            "values",
            {
                "scores": At(self.scores.buffer),
                "scores_pitch": self.pitch,
                **v.fields("v"),
                **self.sums.fields("out"),
                **self.common,
                "maximum": At(self.maximum),
                "sum": At(self.sum),
            },
            reads=(self.scores.span(), Span(self.maximum), *self.own(v), *reads),
            writes=(self.sums.span(), Span(self.sum)),
            note=self.note,
        )

    def write_division(self, out: Matrix) -> None:
        """Write the division, which packs the heads of this pass behind those before."""
        start, offset = divmod(self.heads.start * self.head_dim, LINE_ELEMENTS)
        stop = lines_of(self.heads.stop * self.head_dim)
        self.body.emit(
            "divide",
            {
                **self.sums.fields("x"),
                **out.fields("out", start),
                "offset": offset,
                "heads": len(self.heads),
                "head_lines": self.head_lines,
                "elements": self.head_dim,
                "sum": At(self.sum),
                "pitch": self.body.plan.words,
            },
            reads=(self.sums.span(), Span(self.sum)),
            writes=(out.span(start, stop),),
            note=self.note,
        )

    def _sibling(self, part: str) -> str:
        """Return the name of another operation of the sub-layer."""
        return f"{self.body.operation.rpartition('.')[0]}.{part}"
