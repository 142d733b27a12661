"""Cut a values instruction into passes over all entries, as the array's rows of sums allow."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from hwroute.config import Config
from hwroute.rtl.attention_layouts import SWEEP
from hwroute.rtl.values_layouts import HEAD_BITS, HEAD_LINE_BITS, job_layout, pass_layout, slots_of

PASSES_AHEAD = 3
"""Passes whose entries are asked for before they begin."""


class ValuesPasses(wiring.Component):
    """Say which lines of V, and how many units, each pass has, and ask for its entries.

    The units of an instruction are gone through line of V by line, in each line query head by
    query head of its group, for each row by row. A pass takes as many lines as fit with all their
    units; of a line that does not fit alone, as many units as fit. Entries are asked for up to
    `PASSES_AHEAD` passes ahead.

    Parameters
    ----------
    config
        Of the array.

    Members
    -------
    job
        `hwroute.rtl.values_layouts.job_layout`, stable.
    start
        The job begins; all passes of the last one are taken.
    sweep
        Stream of `hwroute.rtl.attention_layouts.SWEEP`.
    o
        Stream of `hwroute.rtl.values_layouts.pass_layout`.
    """

    def __init__(self, config: Config):
        self.config = config
        self.slots = slots_of(config)
        super().__init__(
            {
                "job": In(job_layout(config)),
                "start": In(1),
                "sweep": Out(stream.Signature(SWEEP)),
                "o": Out(stream.Signature(pass_layout(config))),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        job, made = self.job, Signal(pass_layout(self.config))
        line = Signal.like(job.line)
        of_head, group, left = Signal(HEAD_LINE_BITS), Signal(HEAD_BITS), Signal(HEAD_BITS)
        rest = Signal(len(job.group) + len(job.rows))
        fits, ends_head, ends = Signal(), Signal(), Signal()
        m.submodules.ahead = ahead = SyncFIFOBuffered(
            width=len(made.as_value()), depth=PASSES_AHEAD
        )
        after = left - group
        m.d.comb += [
            fits.eq(rest <= self.slots - made.units),
            ends_head.eq(of_head == job.head_lines - 1),
            ends.eq(ends_head & (group == left)),
            self.sweep.payload.value.eq(1),
            self.sweep.payload.line.eq(made.line),
            self.sweep.payload.lines.eq(made.lines),
            ahead.w_data.eq(made),
            self.o.valid.eq(ahead.r_rdy),
            self.o.payload.eq(ahead.r_data),
            ahead.r_en.eq(self.o.ready),
        ]
        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += [
                    line.eq(job.line),
                    of_head.eq(0),
                    group.eq(job.group),
                    left.eq(job.heads),
                    made.eq(0),
                ]
                with m.If(self.start):
                    m.next = "LINE"
            with m.State("LINE"):
                m.d.sync += rest.eq(group * job.rows)
                m.next = "TAKE"
            with m.State("TAKE"):
                m.next = "SEND"
                with m.If(~made.units.any()):
                    m.d.sync += made.line.eq(line)
                with m.If(fits):
                    m.d.sync += [
                        made.units.eq(made.units + rest),
                        made.lines.eq(made.lines + 1),
                        made.last.eq(ends),
                        line.eq(line + 1),
                        of_head.eq(Mux(ends_head, 0, of_head + 1)),
                    ]
                    with m.If(ends_head):
                        m.d.sync += [
                            left.eq(after),
                            group.eq(Mux(after < job.queries, after, job.queries)),
                        ]
                    with m.If(~ends):
                        m.next = "LINE"
                with m.Elif(~made.units.any()):
                    m.d.sync += [
                        made.units.eq(self.slots),
                        made.lines.eq(1),
                        rest.eq(rest - self.slots),
                    ]
            with m.State("SEND"):
                # The pass is kept for the array when the KV unit has taken its sweep.
                m.d.comb += [
                    self.sweep.valid.eq(ahead.w_rdy),
                    ahead.w_en.eq(ahead.w_rdy & self.sweep.ready),
                ]
                with m.If(ahead.w_en):
                    m.d.sync += [made.units.eq(0), made.lines.eq(0)]
                    m.next = "TAKE"
                    with m.If(made.last):
                        m.next = "IDLE"
        return m
