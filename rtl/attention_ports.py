"""Members that the units of `scores` and of `values` have in common."""

from amaranth.lib import stream
from amaranth.lib.wiring import In, Member, Out

from hwroute.config import Config
from hwroute.rtl.array_layouts import o_payload, x_payload
from hwroute.rtl.attention_layouts import (
    SWEEP,
    VECTOR_LINE_BITS,
    batch_layout,
    entries_shape,
    source_count,
)
from hwroute.rtl.column_ports import ColumnShape
from hwroute.rtl.issue_layouts import DONE, ISSUED
from hwroute.rtl.kernel_loader import kernel_payload
from hwroute.rtl.row_list_layouts import RowListPort
from hwroute.rtl.scratchpad_layouts import LINE, ReadPort, WritePort
from hwroute.rtl.statistics_layouts import StatisticsWritePort


def attention_members(config: Config) -> dict[str, Member]:
    """Return the members, by name.

    Members
    -------
    issue, done
        Streams of `hwroute.rtl.issue_layouts.ISSUED` and `DONE`. ``error``: see
        `hwroute.rtl.attention_front.AttentionFront`.
    list
        `hwroute.rtl.row_list_layouts.RowListPort`.
    read_x, read_y
        `hwroute.rtl.scratchpad_layouts.ReadPort`: queries or scores; the tile's own K or V.
    write
        `hwroute.rtl.scratchpad_layouts.WritePort`.
    statistics_write
        `hwroute.rtl.statistics_layouts.StatisticsWritePort`.
    sweep, batches
        Streams of `hwroute.rtl.attention_layouts.SWEEP` and `batch_layout`.
    lines_0, lines_1, ...
        Streams of lines of each source.
    entries, vector_lines
        Of the KV unit: entries of the order; lines of a vector.
    x, kv, o
        Streams of the array, `hwroute.rtl.array_layouts` and `hwroute.rtl.kernel_loader`.
    memory_error
        Something that was asked for could not be read.
    """
    sources = range(source_count(config))
    return {
        "issue": In(stream.Signature(ISSUED)),
        "done": Out(stream.Signature(DONE)),
        "list": Out(RowListPort()),
        "read_x": Out(ReadPort()),
        "read_y": Out(ReadPort()),
        "write": Out(WritePort()),
        "statistics_write": Out(StatisticsWritePort()),
        "sweep": Out(stream.Signature(SWEEP)),
        "batches": In(stream.Signature(batch_layout(config))),
        **{f"lines_{source}": In(stream.Signature(LINE)) for source in sources},
        "entries": In(entries_shape(config)),
        "vector_lines": In(VECTOR_LINE_BITS),
        "x": Out(stream.Signature(x_payload(config))),
        "kv": Out(stream.Signature(kernel_payload(ColumnShape.of(config)))),
        "o": In(stream.Signature(o_payload(config))),
        "memory_error": In(1),
    }
