"""Random instructions of the DMA unit."""

from hwroute.isa.fields import Register
from hwroute.sim.random_programs.setting import CONTEXT, FP16, SPILL, TABLE_LINES, VOCABULARY
from hwroute.sim.random_programs.writer import Writer


def write_load(writer: Writer, *, to: dict[str, int] | None = None) -> None:
    """Load rows of FP16 values, or of those that a store left, to fields `to` or anywhere."""
    data = writer.setting.memory.region("data").address
    lines = to["to_pitch"] if to else writer.upto(3)
    per_row = writer.chance(0.6)
    if to is None:
        _, to = writer.matrix("to", lines, written=True)
    index = writer.choose((Register.ZERO, Register.POSITION))
    stride = writer.random.randrange(3)
    start = data + writer.random.randrange(FP16.stop - 2 * (CONTEXT + 8) - lines)
    if writer.chance(0.3):
        region = writer.setting.memory.region("spill")
        start, stride, index = region.address, 1, Register.ZERO
    writer.emit(
        "load",
        plane=writer.plane(),
        **to,
        address=start,
        stride=stride,
        index=index,
        lines=lines,
        per_row=per_row,
    )


def write_store(writer: Writer) -> None:
    """Store FP16 rows."""
    region = writer.setting.memory.region("spill")
    lines = writer.upto(3)
    _, source = writer.matrix("from", lines)
    # Rows do not overlap.
    stride = lines + writer.random.randrange(2)
    room = SPILL - stride * writer.setting.tile - lines
    writer.emit(
        "store",
        plane=writer.plane(),
        **source,
        address=region.address + writer.random.randrange(room),
        stride=stride,
        index=Register.ZERO,
        lines=lines,
        per_row=writer.chance(0.6),
    )


def write_gather(writer: Writer) -> None:
    """Gather rows of the table."""
    _, to = writer.matrix("to", TABLE_LINES, written=True)
    memory = writer.setting.memory
    writer.emit(
        "gather",
        plane=writer.plane(),
        **to,
        table=memory.region("table").address,
        ids=memory.region("ids").address,
        vocabulary=VOCABULARY,
        lines=TABLE_LINES,
    )
