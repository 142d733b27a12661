"""Take up matmul instructions: list their rows, check where they lead, make jobs of them."""

from typing import Any

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from hwroute.config import Config
from hwroute.isa.fields import BEAT_BYTES, LINE_BYTES, LINE_ELEMENTS
from hwroute.rtl.axi import LINE_BEATS
from hwroute.rtl.decoder import fields_of
from hwroute.rtl.issue_layouts import ISSUED
from hwroute.rtl.matmul_layouts import (
    JOBS,
    MatmulShape,
    input_layout,
    output_layout,
    row_place_layout,
    run_layout,
)
from hwroute.rtl.pipeline import register
from hwroute.rtl.row_list_layouts import RowListPort


def job_layout(shape: MatmulShape) -> data.StructLayout:
    """Return what the parts of the unit need to know of an instruction."""
    return data.StructLayout(
        {
            "weights": run_layout(shape),
            "scales": run_layout(shape),
            "input": input_layout(shape),
            "output": output_layout(shape),
        }
    )


class MatmulFront(wiring.Component):
    """Make a job of each instruction, in order, up to `JOBS` of them ahead of the last one's end.

    `hwroute.timing.matmul_front_cycles` from an instruction to its job. An instruction is in error
    whose tile is empty or too long, that leads beyond a memory, or whose partial sums are wider
    than the array. One without rows only ends.

    Parameters
    ----------
    config
        Sizes of memories and array.

    Members
    -------
    issue
        Stream of `hwroute.rtl.issue_layouts.ISSUED`.
    list
        `hwroute.rtl.row_list_layouts.RowListPort`.
    o
        Stream of `job_layout`.
    done
        A job has ended.
    input_row, output_row, input_place, output_place
        Indices in the table of rows, and what is there
        (`hwroute.rtl.matmul_layouts.row_place_layout`).
    """

    def __init__(self, config: Config):
        self.config = config
        self.shape = MatmulShape.of(config)
        index, place = range(JOBS * self.shape.rows), row_place_layout(config)
        super().__init__(
            {
                "issue": In(stream.Signature(ISSUED)),
                "list": Out(RowListPort()),
                "o": Out(stream.Signature(job_layout(self.shape))),
                "done": In(1),
                "input_row": In(index),
                "input_place": Out(place),
                "output_row": In(index),
                "output_place": Out(place),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        shape, job = self.shape, self.o.payload
        issued = Signal(ISSUED)
        fields = fields_of(issued.word, "matmul")
        bank, free = Signal(range(JOBS)), Signal(range(JOBS + 1), init=JOBS)
        count, asked = Signal(range(shape.rows + 1)), Signal()
        rows, summed = self.list.rows, Signal()
        x_last, out_last, stored = self._table(m, fields, bank, count)
        m.d.comb += [
            self.list.request.payload.plane.eq(fields.plane),
            self.list.request.payload.rows.eq(issued.rows),
        ]
        m.d.sync += free.eq(free + self.done - (self.o.valid & self.o.ready))
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.issue.ready.eq(free.any())
                m.d.sync += [issued.eq(self.issue.payload), count.eq(0), asked.eq(0), summed.eq(0)]
                with m.If(self.issue.valid & self.issue.ready):
                    m.next = "LIST"
            with m.State("LIST"):
                m.d.comb += [self.list.request.valid.eq(~asked), rows.ready.eq(1)]
                with m.If(self.list.request.ready):
                    m.d.sync += asked.eq(1)
                with m.If(rows.valid):
                    m.d.comb += stored.eq(~rows.payload.empty)
                    m.d.sync += count.eq(count + stored)
                    with m.If(rows.payload.last):
                        m.next = "CHECK"
            with m.State("CHECK"):
                # The last row's places, then where they lead.
                m.d.sync += summed.eq(1)
                with m.If(summed):
                    m.next = "JOB"
            with m.State("JOB"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.d.sync += bank.eq(bank + 1)
                    m.next = "IDLE"
        self._describe(m, issued, fields, x_last, out_last)
        m.d.comb += [
            job.input.rows.bank.eq(bank),
            job.input.rows.count.eq(count),
            job.output.rows.eq(job.input.rows),
            job.input.walk.spread.eq(
                register(m, 1, fields.first & fields.last & shape.spreads(count), "spread")
            ),
            job.weights.spread.eq(job.input.walk.spread),
            job.scales.spread.eq(job.input.walk.spread),
        ]
        return m

    def _table(
        self, m: Module, fields: Any, bank: Value, count: Value
    ) -> tuple[Signal, Signal, Signal]:
        """Write the table of rows; return the last row's places, and what stores a row."""
        place = self.input_place.shape()
        m.submodules.table = table = memory.Memory(
            shape=place, depth=JOBS * self.shape.rows, init=[]
        )
        for name in ("input", "output"):
            port = table.read_port(domain="comb")
            m.d.comb += [
                port.addr.eq(getattr(self, f"{name}_row")),
                getattr(self, f"{name}_place").eq(port.data),
            ]
        write, stored, row = table.write_port(), Signal(), self.list.rows.payload.row
        late = {
            "en": register(m, 1, stored, "store"),
            "addr": register(m, 1, bank * self.shape.rows + count, "index"),
            "row": register(m, 1, row, "row"),
        }
        places = {}
        for name in ("x", "out"):
            pitch = fields[f"{name}_pitch"]
            product = register(m, 1, row * pitch, f"{name}_product")
            # Wide enough not to wrap into the memory.
            places[name] = Signal(len(product) + 1, name=f"{name}_last")
            place_of_row = fields[name] + product
            m.d.comb += write.data[name].eq(place_of_row)
            with m.If(late["en"]):
                m.d.sync += places[name].eq(place_of_row)
        m.d.comb += [
            write.en.eq(late["en"]),
            write.addr.eq(late["addr"]),
            write.data.row.eq(late["row"]),
        ]
        return places["x"], places["out"], stored

    def _describe(
        self, m: Module, issued: Any, fields: Any, x_last: Signal, out_last: Signal
    ) -> None:
        """Drive the job from the instruction, a few cycles later."""
        shape, job = self.shape, self.o.payload
        memories = self.config.memory
        blocks = register(m, 1, _ceiling(fields.columns, shape.columns), "blocks")
        stride = register(m, 1, _ceiling(fields.lines * shape.columns, shape.ports), "stride")
        groups = register(m, 1, _ceiling(fields.lines, shape.group_lines), "groups")
        group_lines = shape.scale_beats // LINE_BEATS
        weights = register(m, 1, blocks * stride, "weights")
        scales = register(m, 1, blocks * groups * group_lines, "scales")
        width = fields.offset + fields.columns
        bias_lines = register(m, 1, _ceiling(width, LINE_ELEMENTS), "bias_lines")
        out_lines = register(m, 1, _ceiling(width << fields.format, LINE_ELEMENTS), "out_lines")
        lines = memories.scratchpad_bytes // LINE_BYTES
        partial = ~(fields.first & fields.last)
        wrong = Cat(
            x_last + fields.lines > lines,
            fields.last & (out_last + out_lines > lines),
            fields.last & fields.biased & (fields.bias + bias_lines > lines),
            fields.weights + weights > memories.hbm_port_bytes // BEAT_BYTES,
            fields.scales + scales > memories.ddr_bytes // LINE_BYTES,
            partial & (fields.columns > shape.columns),
        )
        no_tile = (issued.rows == 0) | (issued.rows > shape.rows)
        empty = job.input.rows.count == 0
        m.d.comb += [
            job.weights.first.eq(fields.weights),
            job.weights.stride.eq(stride),
            job.weights.blocks.eq(blocks),
            job.scales.first.eq(fields.scales * LINE_BEATS),
            job.scales.stride.eq(groups * shape.scale_beats),
            job.scales.blocks.eq(blocks),
            job.input.walk.lines.eq(fields.lines),
            job.input.walk.blocks.eq(blocks),
            job.input.first.eq(fields.first),
            job.input.final.eq(fields.last),
            job.output.index.eq(issued.index),
            job.output.final.eq(fields.last),
            job.output.error.eq(register(m, 1, no_tile | (wrong.any() & ~empty), "error")),
            job.output.skip.eq(job.output.error | empty),
            *(
                job.output[name].eq(fields[name])
                for name in ("columns", "bias", "biased", "format", "offset")
            ),
        ]


def _ceiling(value: Value, size: int) -> Value:
    """Return value / size, rounded up."""
    more = value + (size - 1)
    shift = size.bit_length() - 1
    return more >> shift if size == 1 << shift else more // size
