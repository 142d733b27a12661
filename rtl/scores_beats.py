"""Send the queries of a pass as beats, batch by batch."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from hwroute.config import Config
from hwroute.rtl.array import OUTPUT_ROWS
from hwroute.rtl.array_layouts import Mode, x_payload
from hwroute.rtl.pipeline import register
from hwroute.rtl.scores_layouts import (
    HEAD_LINE_BITS,
    PAIR_BITS,
    finished_layout,
    job_layout,
    pair_table,
    pair_write_layout,
)
from hwroute.rtl.scratchpad_layouts import ReadPort
from hwroute.timing import SCRATCHPAD_QUEUE_LINES


class ScoresBeats(wiring.Component):
    """Walk through a batch's tiles, and in each through the pairs of its KV head. A beat a cycle.

    All pairs of a head are gone through once for each of its lines, so that an accumulator row
    holds each until the last line.

    Parameters
    ----------
    config
        Of array and memories.

    Members
    -------
    job
        `hwroute.rtl.scores_layouts.job_layout`, stable.
    begin, last_pair
        The pass begins; number of its last pair, stable.
    pair
        `hwroute.rtl.scores_layouts.pair_write_layout`.
    batches
        Stream: of each batch with entries, whether it is the last.
    read
        `hwroute.rtl.scratchpad_layouts.ReadPort`.
    x
        Stream of `hwroute.rtl.array_layouts.x_payload`.
    o
        Stream of `hwroute.rtl.scores_layouts.finished_layout`: rows that the array will send.
    idle
        All beats are sent, and all of ``o`` is taken.
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__(
            {
                "job": In(job_layout(config)),
                "begin": In(1),
                "last_pair": In(PAIR_BITS),
                "pair": In(pair_write_layout(config)),
                "batches": In(stream.Signature(1)),
                "read": Out(ReadPort()),
                "x": Out(stream.Signature(x_payload(config))),
                "o": Out(stream.Signature(finished_layout())),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        slot = x_payload(self.config)["slot"].shape
        step = data.StructLayout(
            {"row": finished_layout(), "slot": slot, "first": 1, "last": 1, "hold": 1}
        )
        m.submodules.steps = steps = SyncFIFOBuffered(width=step.size, depth=SCRATCHPAD_QUEUE_LINES)
        m.submodules.rows = rows = SyncFIFOBuffered(
            width=finished_layout().size, depth=2 * OUTPUT_ROWS
        )
        active = self._walk(m, step, steps)
        made, x, response = data.View(step, steps.r_data), self.x.payload, self.read.response
        fires = Signal()
        m.d.comb += [
            self.x.valid.eq(steps.r_rdy & response.valid & (rows.w_rdy | ~made.last)),
            fires.eq(self.x.valid & self.x.ready),
            response.ready.eq(fires),
            steps.r_en.eq(fires),
            rows.w_en.eq(fires & made.last),
            rows.w_data.eq(made.row),
            x.mode.eq(Mode.SCORES),
            x.lanes.eq(response.payload),
            *(x[name].eq(made[name]) for name in ("slot", "first", "last", "hold")),
            self.o.valid.eq(rows.r_rdy),
            self.o.payload.eq(rows.r_data),
            rows.r_en.eq(self.o.ready),
            self.idle.eq(~(active | steps.level.any() | rows.level.any())),
        ]
        return m

    def _walk(self, m: Module, step: data.StructLayout, steps: Any) -> Signal:
        """Ask for the query of every beat; return whether there are more."""
        job, request, batch = self.job, self.read.request, self.batches
        active, own, fresh = Signal(), Signal(), Signal()
        pair, start, line = Signal(PAIR_BITS), Signal(PAIR_BITS), Signal(HEAD_LINE_BITS)
        table = pair_table(m, self.pair, ("q", "ends"), pair)
        can, last_line, ends, final = Signal(), Signal(), Signal(), Signal()
        made = data.View(step, steps.w_data)
        free = ~request.valid | request.ready
        only_line = register(m, 1, job.head_lines - 1, "last_line")
        m.d.comb += [
            can.eq(active & (own | batch.valid) & free & steps.w_rdy),
            last_line.eq(line == only_line),
            ends.eq(can & last_line & (pair == self.last_pair)),
            final.eq(own | (batch.payload & ~job.own)),
            batch.ready.eq(ends & ~own),
            steps.w_en.eq(can),
            made.row.pair.eq(pair),
            made.row.own.eq(own),
            made.row.fresh.eq(fresh),
            made.row.final.eq(final),
            made.row.ends.eq(pair == self.last_pair),
            made.slot.eq(pair - start),
            made.first.eq(~line.any()),
            made.last.eq(last_line),
            made.hold.eq(~table.ends),
        ]
        with m.If(free):
            m.d.sync += [request.valid.eq(can), request.payload.line.eq(table.q + line)]
        with m.If(self.begin):
            m.d.sync += [active.eq(1), own.eq(~job.entries.any()), fresh.eq(1)]
            m.d.sync += [pair.eq(0), start.eq(0), line.eq(0)]
        with m.Elif(can):
            m.d.sync += pair.eq(pair + 1)
            with m.If(table.ends):
                m.d.sync += line.eq(Mux(last_line, 0, line + 1))
                with m.If(last_line):
                    m.d.sync += start.eq(pair + 1)
                with m.Else():
                    m.d.sync += pair.eq(start)
            with m.If(ends):
                m.d.sync += [pair.eq(0), start.eq(0), fresh.eq(0), active.eq(~final)]
                with m.If(~own):
                    m.d.sync += own.eq(batch.payload & job.own)
        return active
