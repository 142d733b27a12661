"""Read the input rows of products, and issue beats to the array."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from hwroute.config import Config
from hwroute.rtl.array_layouts import Mode, slot_bits, x_payload
from hwroute.rtl.kv_layouts import bits
from hwroute.rtl.matmul_layouts import JOBS, MatmulShape, input_layout, row_place_layout
from hwroute.rtl.scratchpad_layouts import ReadPort

AHEAD = 16
"""Lines that may be asked for before the first of them comes."""


class MatmulInput(wiring.Component):
    """Give a beat of ``x`` for each line, column block and row: rows inside, then a batch's blocks.

    A job begins when all that jobs before it write is written. 2 cycles from a job to its first
    request, 1 from a line to its beat, a beat a cycle. The line of a job's only row is read once
    for all blocks of a batch.

    Blocks that come in turn take accumulator rows of their own; else a row's sums are in that of
    its number, where the next job finds them that does not begin with ``first``.

    Parameters
    ----------
    config
        Of the array.

    Members
    -------
    i
        Stream of `hwroute.rtl.matmul_layouts.input_layout`: jobs.
    row, row_place
        Index in the table of rows, and what is there.
    read
        `hwroute.rtl.scratchpad_layouts.ReadPort`.
    x
        Stream of `hwroute.rtl.array_layouts.x_payload`.
    finished
        The array has accepted the last beat of a job.
    written
        All that a job with ``final`` writes is written.
    """

    def __init__(self, config: Config):
        self.config = config
        self.shape = MatmulShape.of(config)
        super().__init__(
            {
                "i": In(stream.Signature(input_layout(self.shape))),
                "row": Out(range(JOBS * self.shape.rows)),
                "row_place": In(row_place_layout(config)),
                "read": Out(ReadPort()),
                "x": Out(stream.Signature(x_payload(config))),
                "finished": Out(1),
                "written": In(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        beat = data.StructLayout(
            {
                "slot": slot_bits(self.config),
                "first": 1,
                "last": 1,
                "hold": 1,
                "copies": range(self.shape.tracks + 1),
                "ends": 1,
            }
        )
        m.submodules.beats = beats = fifo.SyncFIFOBuffered(width=beat.size, depth=AHEAD)
        self._ask(m, beat, beats)
        self._issue(m, data.View(beat, beats.r_data), beats)
        return m

    def _ask(self, m: Module, beat: data.StructLayout, beats: Any) -> None:
        """Ask for lines, and note what beats they make."""
        job, request = self.i.payload, self.read.request
        walk, rows = job.walk, job.rows
        active, writing = Signal(), Signal()
        left, lines = Signal.like(walk.blocks), Signal.like(walk.lines)
        line, index = Signal.like(walk.lines, name="line"), Signal(range(self.shape.rows))
        track = Signal(bits(self.shape.tracks))
        count = Signal(slot_bits(self.config))
        batch = self.shape.batch(walk.spread, left)
        only = rows.count == 1
        step, last_row, last_track, last_line = Signal(), Signal(), Signal(), Signal()
        made = data.View(beat, beats.w_data)
        m.d.comb += [
            self.row.eq(Value.cast(rows.bank) * self.shape.rows + index),
            step.eq(active & (~request.valid | request.ready) & beats.w_rdy),
            last_row.eq(index == rows.count - 1),
            last_track.eq(last_row & (only | (track == batch - 1))),
            last_line.eq(last_track & (lines == 1)),
            beats.w_en.eq(step),
            made.slot.eq(Mux(walk.spread, count, self.row_place.row)),
            made.first.eq(job.first & (line == 0)),
            made.last.eq(job.final & (lines == 1)),
            made.hold.eq(~last_row),
            made.copies.eq(Mux(only, batch, 1)),
            made.ends.eq(self.i.ready),
            self.i.ready.eq(step & last_line & (left == batch)),
        ]
        with m.If(request.ready):
            m.d.sync += request.valid.eq(0)
        with m.If(self.written):
            m.d.sync += writing.eq(0)
        with m.If(~active):
            begins = self.i.valid & ~writing
            m.d.sync += [active.eq(begins), left.eq(walk.blocks), lines.eq(walk.lines)]
            with m.If(begins):
                m.d.sync += writing.eq(job.final)
        with m.If(step):
            m.d.sync += [
                request.valid.eq(1),
                request.payload.line.eq(self.row_place.x + line),
                active.eq(~self.i.ready),
                index.eq(Mux(last_row, 0, index + 1)),
                count.eq(Mux(last_track, 0, count + 1)),
            ]
            with m.If(last_row):
                m.d.sync += track.eq(Mux(last_track, 0, track + 1))
            with m.If(last_track):
                m.d.sync += [
                    lines.eq(Mux(lines == 1, walk.lines, lines - 1)),
                    line.eq(Mux(lines == 1, 0, line + 1)),
                    left.eq(Mux(lines == 1, left - batch, left)),
                ]

    def _issue(self, m: Module, beat: Any, beats: Any) -> None:
        """Make beats of the lines that come."""
        x, response = self.x.payload, self.read.response
        copy, ends = Signal(bits(self.shape.tracks)), Signal()
        free = ~self.x.valid | self.x.ready
        there = beats.r_rdy & response.valid
        last = copy == beat.copies - 1
        m.d.comb += [
            beats.r_en.eq(there & free & last),
            response.ready.eq(beats.r_rdy & free & last),
            x.mode.eq(Mode.INT4),
            self.finished.eq(self.x.valid & self.x.ready & ends),
        ]
        with m.If(free):
            m.d.sync += [
                self.x.valid.eq(there),
                x.lanes.eq(response.payload),
                x.slot.eq(beat.slot + copy),
                x.first.eq(beat.first),
                x.last.eq(beat.last),
                x.hold.eq(beat.hold),
                ends.eq(beat.ends & last),
            ]
            with m.If(there):
                m.d.sync += copy.eq(Mux(last, 0, copy + 1))
