"""Write the sums of a values instruction: of products to the scratchpad, of probabilities."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO, SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from hwroute.column_format import LANES
from hwroute.config import Config
from hwroute.isa.fields import LINE_ELEMENTS
from hwroute.rtl.array_layouts import o_payload
from hwroute.rtl.column_ports import ColumnShape
from hwroute.rtl.kv_layouts import bits
from hwroute.rtl.scratchpad_layouts import WritePort
from hwroute.rtl.softmax import sum_layout
from hwroute.rtl.statistics_layouts import StatisticsWritePort
from hwroute.rtl.values_layouts import (
    BANKS,
    pass_layout,
    slots_of,
    unit_bits,
    unit_table,
    unit_write_layout,
)

SUMS = 4
"""Of heads, that wait to be written."""


class ValuesWriter(wiring.Component):
    """Write each row of the array, in one cycle a line, and each head's sum of probabilities.

    Parameters
    ----------
    config
        Of the array.

    Members
    -------
    i
        Stream of `hwroute.rtl.values_layouts.pass_layout`: passes, accepted when a bank is free.
    unit
        `hwroute.rtl.values_layouts.unit_write_layout`: the units of passes.
    rows
        Stream of `hwroute.rtl.array_layouts.o_payload`.
    sums
        Stream of `hwroute.rtl.softmax.sum_layout`: of each unit.
    write
        `hwroute.rtl.scratchpad_layouts.WritePort`.
    statistics
        `hwroute.rtl.statistics_layouts.StatisticsWritePort`.
    idle
        All of every pass is written.
    """

    def __init__(self, config: Config):
        self.config = config
        self.shape = ColumnShape.of(config)
        self.slots = slots_of(config)
        super().__init__(
            {
                "i": In(stream.Signature(pass_layout(config))),
                "unit": In(unit_write_layout(config)),
                "rows": In(stream.Signature(o_payload(config))),
                "sums": In(stream.Signature(sum_layout(1 << unit_bits(config)))),
                "write": Out(WritePort()),
                "statistics": Out(StatisticsWritePort()),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        rows_end, bank = self._count(m, "rows", self.rows, self.shape.parts)
        sums_end, _ = self._count(m, "sums", self.sums, 1)
        self._write_rows(m, bank)
        busy = self.write.request.valid | self._write_sums(m)
        m.d.comb += [
            self.i.ready.eq(rows_end.w_rdy & sums_end.w_rdy),
            self.idle.eq(~(rows_end.r_rdy | sums_end.r_rdy | busy)),
        ]
        return m

    def _count(self, m: Module, name: str, port: Any, each: int) -> tuple[Any, Signal]:
        """Count what comes of units; return the queue of passes it comes from, and the bank."""
        layout = pass_layout(self.config)
        m.submodules[f"{name}_passes"] = queue = SyncFIFO(width=layout.size, depth=BANKS)
        count = Signal(range(self.slots * each), name=f"{name}_count")
        bank = Signal(name=f"{name}_bank")
        taken = port.valid & port.ready
        last = taken & (count == data.View(layout, queue.r_data).units * each - 1)
        m.d.comb += [
            queue.w_data.eq(self.i.payload),
            queue.w_en.eq(self.i.valid & self.i.ready),
            queue.r_en.eq(last),
        ]
        m.d.sync += [count.eq(Mux(last, 0, count + taken)), bank.eq(bank ^ last)]
        return queue, bank

    def _write_rows(self, m: Module, bank: Signal) -> None:
        """Write rows of the array, whose units are in a bank."""
        floats = min(LANES, self.shape.fp16_columns)
        halves = 2 * floats
        parts, row, request = self.shape.parts, self.rows.payload, self.write.request
        part_bits = (parts - 1).bit_length()
        part, unit = row.slot[:part_bits], Signal(bits(self.slots))
        out = unit_table(m, self.config, self.unit, ("out",), Cat(unit, bank)).out
        free = ~request.valid | request.ready
        values = Value.cast(row.columns)[: 32 * floats]
        if halves > LINE_ELEMENTS:
            second = Signal()
            with m.If(free):
                m.d.sync += second.eq(self.rows.valid & ~second)
            line, last = values.word_select(second, 16 * LINE_ELEMENTS), second
            offset: Value = second
            mask: Any = -1
        else:
            in_line = LINE_ELEMENTS // halves
            inside = (in_line - 1).bit_length()
            line, last = values.replicate(in_line), True
            offset = part[inside:]
            mask = Cat((part[:inside] == at).replicate(halves) for at in range(in_line))
        m.d.comb += [unit.eq(row.slot[part_bits:]), self.rows.ready.eq(free & last)]
        with m.If(free):
            m.d.sync += [
                request.valid.eq(self.rows.valid),
                request.payload.line.eq(out + offset),
                Value.cast(request.payload.data).eq(line),
                request.payload.mask.eq(mask),
            ]

    def _write_sums(self, m: Module) -> Value:
        """Write the sums of heads, one a cycle; return whether one is not written yet."""
        m.submodules.sums = waiting = SyncFIFOBuffered(width=32, depth=SUMS)
        total = self.sums.payload
        unit = unit_table(m, self.config, self.unit, ("sums", "sum"), total.slot)
        request, values = self.statistics.request, self.statistics.values
        m.d.comb += [
            request.valid.eq(self.sums.valid & unit.sums & waiting.w_rdy),
            request.payload.first.eq(unit.sum),
            request.payload.pitch.eq(1),
            request.payload.values.eq(1),
            self.sums.ready.eq(Mux(unit.sums, waiting.w_rdy & request.ready, 1)),
            waiting.w_data.eq(total.value),
            waiting.w_en.eq(request.valid & request.ready),
            values.valid.eq(waiting.r_rdy),
            values.payload.eq(waiting.r_data),
            waiting.r_en.eq(values.ready),
        ]
        return waiting.level.any()
