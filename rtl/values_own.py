"""Read the tile's own V: first for its exponents, then as the last batch."""

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hwroute.column_format import LANES
from hwroute.config import Config
from hwroute.rtl.aligner import largest
from hwroute.rtl.pipeline import advance, register
from hwroute.rtl.scratchpad_layouts import LINE, ReadPort
from hwroute.rtl.values_layouts import job_layout, pass_layout

EXPONENT_CYCLES = 2


class ValuesOwn(wiring.Component):
    """Read the lines of V of a pass twice: for the largest exponent of each, and to multiply by.

    Parameters
    ----------
    config
        Of the array.

    Members
    -------
    job
        `hwroute.rtl.values_layouts.job_layout`, stable; without ``own`` nothing is read.
    i
        `hwroute.rtl.values_layouts.pass_layout`, stable.
    begin, run
        Read the exponents; read the lines, all exponents having been taken.
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
                "i": In(pass_layout(config)),
                "begin": In(1),
                "run": In(1),
                "read": Out(ReadPort()),
                "exponents": Out(stream.Signature(5)),
                "lines": Out(stream.Signature(LINE)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        request, response = self.read.request, self.read.response
        left, line, multiplies = Signal.like(self.i.lines), Signal.like(self.i.line), Signal()
        taken = stream.Signature(LINE).create(path=("taken",))
        en, _ = advance(m, taken, self.exponents, EXPONENT_CYCLES)
        exponents = [element[10:15] for element in response.payload]
        groups = [
            register(m, en, largest(exponents[start : start + 8]), f"largest_{start}")
            for start in range(0, LANES, 8)
        ]
        m.d.comb += [
            request.valid.eq(left.any()),
            request.payload.line.eq(self.job.v + line),
            self.exponents.payload.eq(register(m, en, largest(groups), "largest")),
            taken.valid.eq(response.valid & ~multiplies),
            self.lines.valid.eq(response.valid & multiplies),
            self.lines.payload.eq(response.payload),
        ]
        with m.If(multiplies):
            m.d.comb += response.ready.eq(self.lines.ready)
        with m.Else():
            m.d.comb += response.ready.eq(taken.ready)
        with m.If(self.job.own & (self.begin | self.run)):
            m.d.sync += [left.eq(self.i.lines), line.eq(self.i.line), multiplies.eq(self.run)]
        with m.Elif(request.valid & request.ready):
            m.d.sync += [left.eq(left - 1), line.eq(line + 1)]
        return m
