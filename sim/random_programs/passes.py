"""Random passes over the entries of an order: scores, values and the division."""

from dataclasses import dataclass

from hwroute.isa.fields import BEAT_BYTES, LINE_BYTES, lines_of
from hwroute.sim.random_programs.setting import CONTEXT, FP16, FP32
from hwroute.sim.random_programs.writer import HEAD_LINES, HEADS, Writer

LINE_BEATS = LINE_BYTES // BEAT_BYTES


@dataclass(frozen=True)
class Shape:
    """Heads of a sequence.

    Parameters
    ----------
    kv_heads, queries, head_lines
        KV heads, query heads that share one, lines of a head.
    layers
        Layers that have K and V.
    """

    kv_heads: int
    queries: int
    head_lines: int
    layers: int

    @property
    def lines(self) -> int:
        """Lines of a K or V vector."""
        return self.kv_heads * self.head_lines


def random_shape(writer: Writer) -> Shape:
    """Return heads that the configuration has room for."""
    room = writer.setting.config.kv.entry_beats // LINE_BEATS
    head_lines = writer.upto(min(HEAD_LINES, room))
    kv_heads = writer.upto(min(2, room // head_lines))
    return Shape(kv_heads, writer.upto(HEADS // kv_heads), head_lines, 1 + writer.upto(3))


class Pass:
    """Scores and values of some query heads."""

    def __init__(self, writer: Writer, shape: Shape, heads: range, index: int):
        self.writer = writer
        self.shape = shape
        self.heads = heads
        self.maximum, self.sum = writer.pass_words(index)
        self.pitch = lines_of(CONTEXT) + writer.random.randrange(2)
        size = writer.setting.tile * len(heads) * self.pitch
        self.size = size
        self.scores = range(0)

    def _common(self, plane: int, *, step: bool) -> dict[str, int]:
        return {
            "plane": plane,
            "heads": len(self.heads),
            "first": self.heads.start,
            "queries": self.shape.queries,
            "head_lines": self.shape.head_lines,
            "own": int(step),
            "maximum": self.maximum,
            "pitch": self.writer.pitch,
        }

    def write_scores(
        self, plane: int, k: dict[str, int], *, step: bool, beside: list[range]
    ) -> None:
        """Write the first pass."""
        writer = self.writer
        q, fields = writer.matrix("q", len(self.heads) * self.shape.head_lines)
        own = range(k["k"], k["k"] + self.shape.lines)
        self.scores = writer.place(self.size, FP16, beside=(q, own, *beside))
        writer.emit(
            "scores",
            **fields,
            **k,
            out=self.scores.start,
            out_pitch=self.pitch,
            **self._common(plane, step=step),
        )

    def write_values(
        self, plane: int, v: dict[str, int], *, step: bool, divided: bool, beside: list[range]
    ) -> None:
        """Write the second pass; if no sum can be zero, often a division, which spares scores."""
        writer, shape = self.writer, self.shape
        count = len(self.heads)
        _, out = writer.matrix("out", 2 * count * shape.head_lines, FP32, written=True)
        writer.emit(
            "values",
            scores=self.scores.start,
            scores_pitch=self.pitch,
            **v,
            **out,
            **self._common(plane, step=step),
            sum=self.sum,
        )
        if not divided or writer.chance(0.2):
            return
        elements = writer.upto(64 * shape.head_lines)
        offset = writer.random.randrange(64) if writer.chance(0.5) else 0
        _, to = writer.matrix(
            "out", lines_of(offset + count * elements), beside=beside, written=True
        )
        writer.emit(
            "divide",
            plane=plane,
            x=out["out"],
            x_pitch=out["out_pitch"],
            **to,
            offset=offset,
            heads=count,
            head_lines=shape.head_lines,
            elements=elements,
            sum=self.sum,
            pitch=writer.pitch,
        )
