"""Compute where rows are in DDR and scratchpad, and check that they are there."""

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hwroute.config import Config
from hwroute.isa.fields import LINE_BYTES
from hwroute.rtl.dma_layouts import COMMAND, ROW_TO_MOVE, Move
from hwroute.rtl.pipeline import register

HALF = 17
"""Bits of an unsigned factor that a DSP multiplies by a stride at once."""


class DMAPlaces(wiring.Component):
    """Turn rows into commands. Latency `hwroute.memory_timing.DMA_PLACE_CYCLES`, one row a cycle.

    The first row of an instruction that is not in the memories ends the instruction with an error;
    those behind it are dropped.

    Parameters
    ----------
    config
        Sizes of the memories.

    Members
    -------
    i
        Stream of `ROW_TO_MOVE`.
    o
        Stream of `COMMAND`.
    empty : ``Out(1)``
        No row is inside.
    dropping : ``Out(1)``
        Rows are dropped up to the end of an instruction.
    """

    def __init__(self, config: Config):
        self.ddr_lines = config.memory.ddr_bytes // LINE_BYTES
        self.scratchpad_lines = config.memory.scratchpad_bytes // LINE_BYTES
        super().__init__(
            {
                "i": In(stream.Signature(ROW_TO_MOVE)),
                "o": Out(stream.Signature(COMMAND)),
                "empty": Out(1),
                "dropping": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        multiplied, summed, enable = Signal(), Signal(), Signal()
        row = self.i.payload
        m.d.comb += [
            enable.eq(~self.o.valid | self.o.ready),
            self.i.ready.eq(enable),
            self.empty.eq(~multiplied & ~summed & ~self.o.valid),
        ]
        with m.If(enable):
            m.d.sync += [multiplied.eq(self.i.valid), summed.eq(multiplied)]
        low = register(m, enable, row.stride * row.times[:HALF], "low")
        high = register(m, enable, row.stride * row.times[HALF:], "high")
        pitched = register(m, enable, row.pitch * row.row, "pitched")
        first = data.View(ROW_TO_MOVE, register(m, enable, row, "first"))
        ddr = register(m, enable, first.base + low + (high << HALF), "ddr")
        line = register(m, enable, first.to + pitched, "line")
        second = data.View(ROW_TO_MOVE, register(m, enable, first, "second"))
        self._decide(m, enable & summed, second, ddr, line)
        with m.If(enable):
            m.d.sync += self.o.valid.eq(summed & ~self.dropping)
        return m

    def _decide(self, m: Module, step: Any, row: Any, ddr: Any, line: Any) -> None:
        """Check a row, and make its command."""
        outside, bad = Signal(), Signal()
        in_scratchpad = (row.move == Move.LOAD) | (row.move == Move.STORE)
        m.d.comb += [
            outside.eq(
                (ddr + row.lines > self.ddr_lines)
                | (in_scratchpad & (line + row.lines > self.scratchpad_lines))
            ),
            bad.eq(row.bad | (outside & ~row.bare)),
        ]
        command = self.o.payload
        with m.If(step):
            m.d.sync += [
                self.dropping.eq((self.dropping | bad) & ~row.end),
                *(command[name].eq(row[name]) for name in ("move", "index", "lines")),
                *(command[name].eq(row[name]) for name in ("value", "word")),
                command.bare.eq(row.bare | bad),
                command.end.eq(row.end | bad),
                command.error.eq(bad),
                command.ddr.eq(ddr),
                command.scratchpad.eq(line),
            ]
