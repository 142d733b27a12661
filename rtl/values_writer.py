"""Write the sums of a values instruction: of products to the scratchpad, of probabilities."""

from typing import Any

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hwroute.column_format import LANES
from hwroute.config import Config
from hwroute.isa.fields import LINE_ELEMENTS
from hwroute.rtl.array_layouts import o_payload
from hwroute.rtl.column_ports import ColumnShape
from hwroute.rtl.scratchpad_layouts import WritePort
from hwroute.rtl.softmax import sum_layout
from hwroute.rtl.statistics_layouts import StatisticsWritePort
from hwroute.rtl.streams import Fork
from hwroute.rtl.values_layouts import pass_layout, slots_of, unit_table, unit_write_layout


class ValuesWriter(wiring.Component):
    """Write each row of the array, in one cycle a line, and each head's sum of probabilities.

    Parameters
    ----------
    config
        Of the array.

    Members
    -------
    i
        `hwroute.rtl.values_layouts.pass_layout`, stable.
    unit
        `hwroute.rtl.values_layouts.unit_write_layout`: the units of the pass.
    rows
        Stream of `hwroute.rtl.array_layouts.o_payload`.
    sums
        Stream of `hwroute.rtl.softmax.sum_layout`: of each unit.
    write
        `hwroute.rtl.scratchpad_layouts.WritePort`.
    statistics
        `hwroute.rtl.statistics_layouts.StatisticsWritePort`.
    run, done
        The pass begins; all of it is written, until the next one begins.
    """

    def __init__(self, config: Config):
        self.config = config
        self.shape = ColumnShape.of(config)
        self.slots = slots_of(config)
        super().__init__(
            {
                "i": In(pass_layout(config)),
                "unit": In(unit_write_layout(config)),
                "rows": In(stream.Signature(o_payload(config))),
                "sums": In(stream.Signature(sum_layout(self.slots))),
                "write": Out(WritePort()),
                "statistics": Out(StatisticsWritePort()),
                "run": In(1),
                "done": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        rows_left = Signal(range(self.slots * self.shape.parts + 1))
        sums_left = Signal(range(self.slots + 1))
        written, summed = self._write_rows(m), self._write_sums(m)
        with m.If(self.run):
            m.d.sync += [
                rows_left.eq(self.i.units * self.shape.parts),
                sums_left.eq(self.i.units),
            ]
        with m.Else():
            m.d.sync += [rows_left.eq(rows_left - written), sums_left.eq(sums_left - summed)]
        m.d.comb += self.done.eq(~rows_left.any() & ~sums_left.any())
        return m

    def _write_rows(self, m: Module) -> Value:
        """Write rows of the array; return whether the last line of one is written."""
        floats = min(LANES, self.shape.fp16_columns)
        halves = 2 * floats
        parts, row, request = self.shape.parts, self.rows.payload, self.write.request
        part_bits = (parts - 1).bit_length()
        part, unit = row.slot[:part_bits], row.slot[part_bits:]
        out = unit_table(m, self.config, self.unit, ("out",), unit).out
        free, second, ends = ~request.valid | request.ready, Signal(), Signal()
        values = Value.cast(row.columns)[: 32 * floats]
        if halves > LINE_ELEMENTS:
            line, last = values.word_select(second, 16 * LINE_ELEMENTS), second
            offset: Value = second
            mask: Any = -1
        else:
            in_line = LINE_ELEMENTS // halves
            inside = (in_line - 1).bit_length()
            line, last = values.replicate(in_line), True
            offset = part[inside:]
            mask = Cat((part[:inside] == at).replicate(halves) for at in range(in_line))
        m.d.comb += self.rows.ready.eq(free & last)
        with m.If(free):
            m.d.sync += [
                request.valid.eq(self.rows.valid),
                second.eq(self.rows.valid & ~second),
                ends.eq(last),
                request.payload.line.eq(out + offset),
                Value.cast(request.payload.data).eq(line),
                request.payload.mask.eq(mask),
            ]
        return request.valid & request.ready & ends

    def _write_sums(self, m: Module) -> Value:
        """Write the sums of heads; return whether a unit's has been dealt with."""
        m.submodules.sums = fork = Fork(sum_layout(self.slots))
        total = self.sums.payload
        unit = unit_table(m, self.config, self.unit, ("sums", "sum"), total.slot)
        request, values = self.statistics.request, self.statistics.values
        m.d.comb += [
            fork.i.valid.eq(self.sums.valid & unit.sums),
            fork.i.payload.eq(total),
            self.sums.ready.eq(fork.i.ready | ~unit.sums),
            request.valid.eq(fork.o_0.valid),
            request.payload.first.eq(unit.sum),
            request.payload.pitch.eq(1),
            request.payload.values.eq(1),
            fork.o_0.ready.eq(request.ready),
            values.valid.eq(fork.o_1.valid),
            values.payload.eq(fork.o_1.payload.value),
            fork.o_1.ready.eq(values.ready),
        ]
        return self.sums.valid & self.sums.ready
