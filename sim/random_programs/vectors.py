"""Random instructions of the NPE unit."""

from hwroute.isa.fields import lines_of
from hwroute.isa.instruction import fp32_pattern
from hwroute.sim.random_programs.setting import FP32, TIED, VOCABULARY
from hwroute.sim.random_programs.writer import Writer


def write_argmax(writer: Writer) -> None:
    """Find the largest of logits in one to three parts."""
    parts = writer.upto(3)
    base = 0
    for part in range(parts):
        count = writer.upto(VOCABULARY // 3)
        x = writer.place(lines_of(2 * count), FP32)
        writer.emit(
            "argmax",
            x=x.start,
            count=count,
            base=base,
            first=part == 0,
            last=part == parts - 1,
        )
        base += count


def write_reduce(writer: Writer, *, plane: int | None = None, group: int | None = None) -> int:
    """Reduce rows with a router, and return the word of the sums."""
    lines = writer.upto(3)
    _, x = writer.matrix("x", lines)
    tied = writer.chance(0.3)
    router = TIED.start if tied else writer.place(2 * lines).start
    to = writer.group() if group is None else group
    writer.emit(
        "reduce",
        plane=writer.plane() if plane is None else plane,
        **x,
        lines=lines,
        router=router,
        routed=plane is not None or writer.chance(0.8),
        to=to,
        pitch=writer.pitch,
    )
    return to


def write_normalise(writer: Writer) -> None:
    """Normalise rows by sums that some reduction left."""
    lines = writer.upto(3)
    x, fields = writer.matrix("x", lines)
    gain = writer.place(lines)
    _, out = writer.matrix("out", lines, beside=(x, gain), written=True)
    writer.emit(
        "normalise",
        plane=writer.plane(),
        **fields,
        **out,
        lines=lines,
        gain=gain.start,
        squares=writer.group(),
        inverse=fp32_pattern(1 / (64 * lines)),
        epsilon=fp32_pattern(writer.choose((1e-5, 1e-6, 0.25))),
    )


def write_rotate(writer: Writer) -> None:
    """Rotate heads in place."""
    heads, lines = writer.upto(3), writer.upto(2)
    x, fields = writer.matrix("x", heads * lines, written=True)
    _, table = writer.matrix("table", lines, beside=(x,))
    writer.emit("rotate", plane=writer.plane(), **fields, **table, heads=heads, head_lines=lines)


def write_swiglu(writer: Writer) -> None:
    """Gate rows."""
    lines = writer.upto(3)
    x, fields = writer.matrix("x", 2 * lines)
    _, out = writer.matrix("out", lines, beside=(x,), written=True)
    writer.emit("swiglu", plane=writer.plane(), **fields, **out, lines=lines)


def write_residual(writer: Writer, *, x: dict[str, int] | None = None) -> None:
    """Add rows in place, to fields `x` or anywhere."""
    lines = x["x_pitch"] if x else writer.upto(3)
    if x is None:
        _, x = writer.matrix("x", lines, written=True)
    rows = range(x["x"], x["x"] + (writer.setting.tile - 1) * x["x_pitch"] + lines)
    _, y = writer.matrix("y", lines, beside=(rows,))
    writer.emit("residual", plane=writer.plane(), **x, **y, lines=lines)
