"""Write what the vector datapath gives to where it belongs."""

from typing import Any

from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out, connect, flipped

from hwroute.column_format import LANES
from hwroute.rtl.argmax import TOKEN_LAYOUT
from hwroute.rtl.fused_reduction import LOGITS, statistics_layout
from hwroute.rtl.npe_operands import OPERANDS
from hwroute.rtl.scratchpad_layouts import LINE_NUMBER_BITS, WRITE, WritePort
from hwroute.rtl.statistics_layouts import StatisticsWritePort
from hwroute.rtl.streams import SkidBuffer
from hwroute.rtl.vector_layouts import VectorOperation, line_layout

ROWS_IN_FLIGHT = 64
"""Rows that are read but not written: more than the datapath holds."""


class LineResults(wiring.Component):
    """Write lines, sums and tokens, row by row in the order in which the rows were announced.

    One line a cycle; a reduced row in one cycle more than it has values.

    Members
    -------
    operands
        `hwroute.rtl.npe_operands.OPERANDS`, stable while there are rows.
    rows
        Stream of first lines (or words) of the rows, each announced before its results come.
    lines, sums, tokens
        Streams of `hwroute.rtl.vector_layouts.line_layout`,
        `hwroute.rtl.fused_reduction.statistics_layout`, `hwroute.rtl.argmax.TOKEN_LAYOUT`.
    row_ends
        The last line of a row enters the datapath: the end of an argmax that gives no token.
    write
        `hwroute.rtl.scratchpad_layouts.WritePort`.
    statistics
        `hwroute.rtl.statistics_layouts.StatisticsWritePort`.
    token_valid, token
        Result of an argmax.
    saturated
        A line is written in which a value saturated.
    idle
        All rows announced are written.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "operands": In(OPERANDS),
                "rows": In(stream.Signature(LINE_NUMBER_BITS)),
                "lines": In(stream.Signature(line_layout(LANES))),
                "sums": In(stream.Signature(statistics_layout())),
                "tokens": In(stream.Signature(TOKEN_LAYOUT)),
                "row_ends": In(1),
                "write": Out(WritePort()),
                "statistics": Out(StatisticsWritePort()),
                "token_valid": Out(1),
                "token": Out(32),
                "saturated": Out(1),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.queue = queue = SyncFIFOBuffered(width=LINE_NUMBER_BITS, depth=ROWS_IN_FLIGHT)
        is_argmax = self.operands.operation == VectorOperation.ARGMAX
        argmax_ends = Mux(self.operands.last, self.tokens.valid, self.row_ends)
        line_ends, sums_end = Signal(), Signal()
        m.d.comb += [
            queue.w_data.eq(self.rows.payload),
            queue.w_en.eq(self.rows.valid),
            self.rows.ready.eq(queue.w_rdy),
            queue.r_en.eq(line_ends | sums_end | (is_argmax & argmax_ends)),
            self.tokens.ready.eq(1),
            self.token_valid.eq(self.tokens.valid),
            self.token.eq(self.tokens.payload.token),
        ]
        busy = self._write_lines(m, queue, line_ends)
        self._write_sums(m, queue, sums_end)
        m.d.comb += self.idle.eq((queue.level == 0) & ~busy)
        return m

    def _write_lines(self, m: Module, queue: Any, ends: Signal) -> Value:
        """Write the lines of the first row of the queue; return whether one is under way."""
        m.submodules.skid = skid = SkidBuffer(WRITE)
        connect(m, skid.o, flipped(self.write.request))
        line, number = self.lines.payload, Signal(LINE_NUMBER_BITS)
        move = Signal()
        m.d.comb += [
            skid.i.valid.eq(self.lines.valid & queue.r_rdy),
            self.lines.ready.eq(skid.i.ready & queue.r_rdy),
            move.eq(self.lines.valid & self.lines.ready),
            ends.eq(move & line.last),
            skid.i.payload.line.eq(queue.r_data + number),
            skid.i.payload.data.eq(line.lanes),
            skid.i.payload.mask.eq(Cat(line.start <= lane for lane in range(LANES))),
            self.saturated.eq(move & line.saturated),
        ]
        with m.If(move):
            m.d.sync += number.eq(Mux(line.last, 0, number + 1))
        return skid.o.valid

    def _write_sums(self, m: Module, queue: Any, ends: Signal) -> None:
        """Write the sums of the first row of the queue: of squares, and the logits if asked."""
        sums, routed = self.sums.payload, self.operands.reads_y
        port, asked, number = self.statistics, Signal(), Signal(range(1 + LOGITS))
        here = self.sums.valid & queue.r_rdy
        values = Array([sums.squares, *(sums.logits[index] for index in range(LOGITS))])
        last = Mux(routed, LOGITS, 0)
        m.d.comb += [
            port.request.valid.eq(here & ~asked),
            port.request.payload.first.eq(queue.r_data),
            port.request.payload.pitch.eq(self.operands.statistic_pitch),
            port.request.payload.values.eq(last + 1),
            port.values.valid.eq(here & asked),
            port.values.payload.eq(values[number]),
            ends.eq(port.values.valid & port.values.ready & (number == last)),
            self.sums.ready.eq(ends),
        ]
        with m.If(port.request.valid & port.request.ready):
            m.d.sync += asked.eq(1)
        with m.If(port.values.valid & port.values.ready):
            m.d.sync += number.eq(number + 1)
        with m.If(ends):
            m.d.sync += [asked.eq(0), number.eq(0)]
