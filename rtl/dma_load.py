"""Move rows from DDR to the scratchpad."""

from typing import Any

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from hwroute.rtl.axi import DDR_PORT, LINE_BEATS
from hwroute.rtl.dma_layouts import COMMAND, IDS, Move
from hwroute.rtl.issue_layouts import DONE
from hwroute.rtl.memory_layouts import REQUEST, beat_layout
from hwroute.rtl.scratchpad_layouts import WritePort

ROWS_AHEAD = 16
"""Rows that may be asked for before the first of them has arrived."""
EXPECTED = data.StructLayout(
    {name: COMMAND[name].shape for name in ("move", "bare", "end", "error", "index", "scratchpad")}
)
"""What is still to be known of a row when its beats arrive."""


class DMALoader(wiring.Component):
    """Ask for the beats of each row, and write them as lines. A line every two cycles.

    Consecutive lines of a row are one request. Latency from a beat to its line
    `hwroute.memory_timing.DMA_LINE_CYCLES`.

    Members
    -------
    i
        Stream of `COMMAND`: LOAD and IDS.
    read, beats
        Requests to DDR, and the beats that answer them.
    write
        `WritePort` of the scratchpad.
    ids
        Stream of `IDS`.
    done
        Stream of `DONE`: all lines of an instruction are written.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "i": In(stream.Signature(COMMAND)),
                "read": Out(stream.Signature(REQUEST)),
                "beats": In(stream.Signature(beat_layout(DDR_PORT.words))),
                "write": Out(WritePort()),
                "ids": Out(stream.Signature(IDS)),
                "done": Out(stream.Signature(DONE)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        width = EXPECTED.size
        m.submodules.order = order = SyncFIFOBuffered(width=width, depth=ROWS_AHEAD)
        command, asked = self.i.payload, self.read.payload
        fields = [Value.cast(command[name]) for name, _ in EXPECTED]
        m.d.comb += [
            self.i.ready.eq(order.w_rdy & (~self.read.valid | self.read.ready)),
            order.w_en.eq(self.i.valid & self.i.ready),
            order.w_data.eq(Cat(*fields)),
        ]
        with m.If(self.read.ready):
            m.d.sync += self.read.valid.eq(0)
        with m.If(order.w_en):
            m.d.sync += self.read.valid.eq(~command.bare)
            with m.If(~command.bare):
                m.d.sync += [
                    asked.first.eq(command.ddr * LINE_BEATS),
                    asked.count.eq(command.lines * LINE_BEATS),
                ]
        self._collect(m, order)
        return m

    def _collect(self, m: Module, order: Any) -> None:
        """Make lines of the beats, and end the instructions."""
        row, beat = data.View(EXPECTED, order.r_data), self.beats.payload
        line, written = self.write.request, Signal(COMMAND["lines"].shape)
        upper, failed, error = Signal(), Signal(), Signal()
        lower, whole = Signal(DDR_PORT.data_bits), Signal(2 * DDR_PORT.data_bits)
        free, step, ended, ending = Signal(), Signal(), Signal(), Signal(DONE)
        fetches = row.move == Move.IDS
        m.d.comb += [
            free.eq((~line.valid | line.ready) & ~self.ids.valid & ~(row.end & ended)),
            self.beats.ready.eq(order.r_rdy & ~row.bare & free),
            step.eq(self.beats.valid & self.beats.ready),
            order.r_en.eq(order.r_rdy & free & (row.bare | (step & beat.last))),
            whole.eq(Cat(lower, Value.cast(beat.data))),
            error.eq(row.error | failed | (step & beat.error)),
        ]
        with m.If(line.ready):
            m.d.sync += line.valid.eq(0)
        with m.If(self.ids.ready):
            m.d.sync += self.ids.valid.eq(0)
        with m.If(step):
            m.d.sync += [upper.eq(~upper & ~beat.last), lower.eq(beat.data), failed.eq(error)]
        with m.If(step & upper & ~fetches):
            m.d.sync += [
                line.valid.eq(1),
                line.payload.line.eq(row.scratchpad + written),
                Value.cast(line.payload.data).eq(whole),
                line.payload.mask.eq(~0),
                written.eq(written + 1),
            ]
        with m.If(order.r_en):
            m.d.sync += [
                written.eq(0),
                self.ids.valid.eq(fetches & ~row.bare),
                Value.cast(self.ids.payload.ids).eq(whole),
                self.ids.payload.error.eq(error),
            ]
            with m.If(row.end | fetches):
                m.d.sync += failed.eq(0)
        with m.If(self.done.ready):
            m.d.sync += self.done.valid.eq(0)
        # The last line of an instruction is the first to be accepted after its end was seen.
        with m.If(ended & (~line.valid | line.ready) & (~self.done.valid | self.done.ready)):
            m.d.sync += [ended.eq(0), self.done.valid.eq(1), self.done.payload.eq(ending)]
        with m.If(order.r_en & row.end):
            m.d.sync += [ended.eq(1), ending.index.eq(row.index), ending.error.eq(error)]
