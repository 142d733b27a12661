"""Go through the outputs of products segment by segment, and tell when a product has ended."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from hwroute.config import Config
from hwroute.isa.fields import LINE_ELEMENTS
from hwroute.rtl.issue_layouts import DONE
from hwroute.rtl.kv_layouts import bits
from hwroute.rtl.matmul_layouts import (
    FIELDS,
    JOBS,
    LINE_BITS,
    MatmulShape,
    output_layout,
    row_place_layout,
)
from hwroute.rtl.scratchpad_layouts import READ

PLACE_BITS = (LINE_ELEMENTS - 1).bit_length()
AHEAD = 8
"""Segments whose biases may be under way."""
POSITION_BITS = FIELDS["columns"].bits + 1


def segment_layout(shape: MatmulShape) -> data.StructLayout:
    """Return where a segment of a row goes.

    Fields: number, of the segment in its block; ``block_ends`` with it; count, elements; wide,
    FP32; line and place, where its first 16 bits go; ``row_ends`` with it, ``job_ends``; biased;
    bias_place, element of a line at which its biases begin.
    """
    return data.StructLayout(
        {
            "number": bits(shape.columns // shape.segment),
            "block_ends": 1,
            "count": range(shape.segment + 1),
            "wide": 1,
            "line": LINE_BITS,
            "place": PLACE_BITS,
            "row_ends": 1,
            "job_ends": 1,
            "biased": 1,
            "bias_place": PLACE_BITS,
        }
    )


class MatmulOutput(wiring.Component):
    """Say for each segment of each finished row where it goes, and ask for its biases.

    Segments come in the order in which the array finishes rows: column block after column block,
    in each row after row. A segment a cycle; with biases that lie in two lines, one in two cycles.

    Parameters
    ----------
    config
        Of the array.

    Members
    -------
    i
        Stream of `hwroute.rtl.matmul_layouts.output_layout`: jobs.
    row, row_place
        Index in the table of rows, and what is there.
    bias
        Stream of `hwroute.rtl.scratchpad_layouts.READ`: the lines of biases, in order; a second
        one where a segment's biases go on in the next line.
    o
        Stream of `segment_layout`.
    read
        The array has accepted the last beat of a job.
    written
        The last segment of a job is written.
    weight_errors, scale_errors
        Streams, a bit for each job that is not skipped.
    done
        Stream of `hwroute.rtl.issue_layouts.DONE`.
    ended
        A job ends.
    """

    def __init__(self, config: Config):
        self.shape = MatmulShape.of(config)
        super().__init__(
            {
                "i": In(stream.Signature(output_layout(self.shape))),
                "row": Out(range(JOBS * self.shape.rows)),
                "row_place": In(row_place_layout(config)),
                "bias": Out(stream.Signature(READ)),
                "o": Out(stream.Signature(segment_layout(self.shape))),
                "read": In(1),
                "written": In(1),
                "weight_errors": In(stream.Signature(1)),
                "scale_errors": In(stream.Signature(1)),
                "done": Out(stream.Signature(DONE)),
                "ended": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        job = self.i.payload
        walking, walked, error = Signal(), Signal(), Signal()
        self._walk(m, walking, walked)
        # Of partial sums the next job's may be read before this one's end is told.
        unread = Signal(range(JOBS + 1))
        takes = Signal()
        m.d.sync += unread.eq(unread + self.read - takes)
        checked = self.weight_errors.valid & self.scale_errors.valid & unread.any()
        m.d.comb += [
            self.done.payload.index.eq(job.index),
            self.done.payload.error.eq(error),
            self.weight_errors.ready.eq(takes),
            self.scale_errors.ready.eq(takes),
            self.ended.eq(self.done.valid & self.done.ready),
            self.i.ready.eq(self.ended),
        ]
        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += error.eq(job.error)
                with m.If(self.i.valid):
                    with m.If(job.skip):
                        m.next = "DONE"
                    with m.Elif(job.final):
                        m.next = "WALK"
                    with m.Else():
                        m.next = "READ"
            with m.State("WALK"):
                m.d.comb += walking.eq(1)
                with m.If(walked):
                    m.next = "WRITE"
            with m.State("WRITE"), m.If(self.written):
                m.next = "READ"
            with m.State("READ"):
                m.d.comb += takes.eq(checked)
                m.d.sync += error.eq(self.weight_errors.payload | self.scale_errors.payload)
                with m.If(checked):
                    m.next = "DONE"
            with m.State("DONE"):
                m.d.comb += self.done.valid.eq(1)
                with m.If(self.done.ready):
                    m.next = "IDLE"
        return m

    def _walk(self, m: Module, walking: Signal, walked: Signal) -> None:
        """Go through segments, row after row and block after block."""
        shape, job = self.shape, self.i.payload
        layout = segment_layout(shape)
        m.submodules.segments = segments = fifo.SyncFIFOBuffered(width=layout.size, depth=AHEAD)
        made = data.View(layout, segments.w_data)
        index, number = Signal(range(shape.rows)), Signal(made.number.shape())
        # Elements from the first line's start to the block and to the segment; columns left.
        block, position = Signal(POSITION_BITS), Signal(POSITION_BITS)
        left, rest = Signal.like(job.columns), Signal.like(job.columns)
        last_row, step = Signal(), Signal()
        halves = Mux(job.format, position << 1, position)
        m.d.comb += [
            self.row.eq(job.rows.bank * shape.rows + index),
            last_row.eq(index == job.rows.count - 1),
            made.number.eq(number),
            made.row_ends.eq(rest <= shape.segment),
            made.block_ends.eq(made.row_ends | (number == shape.columns // shape.segment - 1)),
            made.count.eq(Mux(made.row_ends, rest, shape.segment)),
            made.wide.eq(job.format),
            made.line.eq(self.row_place.out + (halves >> PLACE_BITS)),
            made.place.eq(halves[:PLACE_BITS]),
            made.job_ends.eq(made.row_ends & last_row),
            made.biased.eq(job.biased),
            made.bias_place.eq(position[:PLACE_BITS]),
            segments.w_en.eq(step),
            walked.eq(step & made.job_ends),
            self.o.valid.eq(segments.r_rdy),
            self.o.payload.eq(segments.r_data),
            segments.r_en.eq(self.o.ready),
        ]
        self._ask(m, made, position, walking & segments.w_rdy, step)
        with m.If(~walking):
            m.d.sync += [
                index.eq(0),
                number.eq(0),
                block.eq(job.offset),
                position.eq(job.offset),
                left.eq(job.columns),
                rest.eq(job.columns),
            ]
        with m.If(step):
            m.d.sync += [
                number.eq(number + 1),
                position.eq(position + shape.segment),
                rest.eq(rest - shape.segment),
            ]
            with m.If(made.block_ends):
                m.d.sync += [
                    number.eq(0),
                    index.eq(Mux(last_row, 0, index + 1)),
                    position.eq(Mux(last_row, block + shape.columns, block)),
                    rest.eq(Mux(last_row, left - shape.columns, left)),
                ]
                with m.If(last_row):
                    m.d.sync += [block.eq(block + shape.columns), left.eq(left - shape.columns)]

    def _ask(self, m: Module, made: Any, position: Signal, can: Value, step: Signal) -> None:
        """Ask for the lines of a segment's biases; say when the walk can step on."""
        request, second = self.bias, Signal()
        free = ~request.valid | request.ready
        more = made.bias_place + made.count > LINE_ELEMENTS
        with m.If(request.ready):
            m.d.sync += request.valid.eq(0)
        with m.If(~made.biased):
            m.d.comb += step.eq(can)
        with m.Elif(can & free):
            m.d.comb += step.eq(second | ~more)
            m.d.sync += [
                second.eq(~step),
                request.valid.eq(1),
                request.payload.line.eq(self.i.payload.bias + position[PLACE_BITS:] + second),
            ]
