"""Read the tile's own V: first for its exponents, then as the last batch."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from hwroute.column_format import LANES
from hwroute.config import Config
from hwroute.rtl.aligner import largest
from hwroute.rtl.pipeline import advance, register
from hwroute.rtl.scratchpad_layouts import LINE, ReadPort
from hwroute.rtl.values_layouts import job_layout, pass_layout
from hwroute.timing import SCRATCHPAD_QUEUE_LINES

EXPONENT_CYCLES = 2


class ValuesOwn(wiring.Component):
    """Read the lines of V of a pass twice: for the largest exponent of each, and to multiply by.

    Exponents are asked for first, so that the next pass does not wait for this one.

    Parameters
    ----------
    config
        Of the array.

    Members
    -------
    job
        `hwroute.rtl.values_layouts.job_layout`, stable; without ``own`` nothing is read.
    begin, i
        Read the exponents of the pass.
    multiply, of
        Read the lines of the pass.
    read
        `hwroute.rtl.scratchpad_layouts.ReadPort`.
    exponents
        Stream: the largest biased exponent of each line.
    lines
        Stream of lines.
    """

    def __init__(self, config: Config):
        super().__init__(
            {
                "job": In(job_layout(config)),
                "begin": In(1),
                "i": In(pass_layout(config)),
                "multiply": In(1),
                "of": In(pass_layout(config)),
                "read": Out(ReadPort()),
                "exponents": Out(stream.Signature(5)),
                "lines": Out(stream.Signature(LINE)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        request, response = self.read.request, self.read.response
        m.submodules.asked = asked = SyncFIFOBuffered(width=1, depth=SCRATCHPAD_QUEUE_LINES)
        taken = stream.Signature(LINE).create(path=("taken",))
        en, _ = advance(m, taken, self.exponents, EXPONENT_CYCLES)
        exponents = [element[10:15] for element in response.payload]
        groups = [
            register(m, en, largest(exponents[start : start + 8]), f"largest_{start}")
            for start in range(0, LANES, 8)
        ]
        early = self._lines_of(m, "early", self.begin, self.i)
        late = self._lines_of(m, "late", self.multiply, self.of)
        line = Mux(early.valid, early.payload, late.payload)
        accepted = request.valid & request.ready
        there = response.valid & asked.r_rdy
        m.d.comb += [
            request.valid.eq((early.valid | late.valid) & asked.w_rdy),
            request.payload.line.eq(self.job.v + line),
            early.ready.eq(accepted),
            late.ready.eq(accepted & ~early.valid),
            asked.w_data.eq(early.valid),
            asked.w_en.eq(accepted),
            self.exponents.payload.eq(register(m, en, largest(groups), "largest")),
            taken.valid.eq(there & asked.r_data),
            self.lines.valid.eq(there & ~asked.r_data),
            self.lines.payload.eq(response.payload),
            response.ready.eq(asked.r_rdy & Mux(asked.r_data, taken.ready, self.lines.ready)),
            asked.r_en.eq(response.valid & response.ready),
        ]
        return m

    def _lines_of(self, m: Module, name: str, start: Value, one: Any) -> Any:
        """Return a stream of the numbers of a pass's lines."""
        lines = stream.Signature(one.line.shape()).create(path=(name,))
        left, line = Signal.like(one.lines, name=f"{name}_left"), lines.payload
        m.d.comb += lines.valid.eq(left.any())
        with m.If(start & self.job.own):
            m.d.sync += [left.eq(one.lines), line.eq(one.line)]
        with m.Elif(lines.valid & lines.ready):
            m.d.sync += [left.eq(left - 1), line.eq(line + 1)]
        return lines
