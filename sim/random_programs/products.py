"""Random products with INT4 matrices."""

from hwroute.isa.fields import LINE_ELEMENTS, lines_of
from hwroute.matrix_layout import MatrixLayout
from hwroute.sim.random_programs.moves import write_load
from hwroute.sim.random_programs.setting import FP16, FP32, SCALES, WEIGHTS
from hwroute.sim.random_programs.vectors import write_residual, write_swiglu
from hwroute.sim.random_programs.writer import Writer


def write_matmul(writer: Writer) -> None:
    """Multiply in one instruction, or in several that carry partial sums."""
    columns = writer.setting.config.array.columns
    plane = writer.plane()
    if writer.chance(0.5):
        width = writer.upto(2 * columns + columns // 2)
        _write_product(writer, plane, width, first=True, last=True)
        return
    width = writer.choose((columns, writer.upto(columns)))
    parts = 1 + writer.upto(2)
    for part in range(parts):
        _write_product(writer, plane, width, first=part == 0, last=part == parts - 1)
        if part < parts - 1 and writer.chance(0.3):
            writer.choose((write_residual, write_swiglu, write_load))(writer)


def _write_product(writer: Writer, plane: int, width: int, *, first: bool, last: bool) -> None:
    config, memory = writer.setting.config, writer.setting.memory
    lines = writer.upto(3)
    size = MatrixLayout(
        outputs=width,
        reduction=lines,
        columns=config.array.columns,
        ports=config.kv.hbm_ports,
        group_lines=config.numerics.group // LINE_ELEMENTS,
    )
    wide = writer.chance(0.4)
    offset = writer.random.randrange(32 if wide else 64) if writer.chance(0.4) else 0
    end = offset + width
    x, fields = writer.matrix("x", lines)
    bias = writer.place(lines_of(end))
    length = lines_of(2 * end if wide else end)
    _, out = writer.matrix("out", length, FP32 if wide else FP16, beside=(x, bias), written=True)
    writer.emit(
        "matmul",
        plane=plane,
        **fields,
        **out,
        lines=lines,
        columns=width,
        weights=memory.region("weights").address + writer.random.randrange(WEIGHTS - size.beats),
        scales=memory.region("scales").address + writer.random.randrange(SCALES - size.scales),
        bias=bias.start,
        biased=writer.chance(0.5),
        first=first,
        last=last,
        format=int(wide),
        offset=offset,
    )
