"""Find out what the units of a pass need: places, maxima and reference exponents."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from hwroute.config import Config
from hwroute.rtl.kv_layouts import bits
from hwroute.rtl.pipeline import advance, delay, register
from hwroute.rtl.row_list_layouts import ROW_BITS
from hwroute.rtl.statistics_layouts import WORD_NUMBER_BITS, StatisticsReadPort
from hwroute.rtl.values_layouts import (
    HEAD_BITS,
    HEAD_LINE_BITS,
    job_layout,
    pass_layout,
    slots_of,
    unit_layout,
    unit_write_layout,
)

PLACE_CYCLES = 3
UNITS_ASKED = 4
"""Units whose maxima and references are on their way."""


class ValuesPlan(wiring.Component):
    """Write a pass's units into the tables of the parts, a unit in two cycles, in bank after bank.

    Units continue from pass to pass where the last one ended
    (`hwroute.rtl.values_passes.ValuesPasses`).

    Parameters
    ----------
    config
        Of array and memories.

    Members
    -------
    job
        `hwroute.rtl.values_layouts.job_layout`, stable.
    start
        The job begins.
    i
        `hwroute.rtl.values_layouts.pass_layout`, stable.
    begin, done
        The pass begins; the last of its units is written.
    row_index, row
        Index in the table of the job's rows, and the row there.
    statistics
        `hwroute.rtl.statistics_layouts.StatisticsReadPort`.
    own
        Stream: the largest exponent in each line of the tile's own V of the pass; with ``job.own``.
    o
        `hwroute.rtl.values_layouts.unit_write_layout`.
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__(
            {
                "job": In(job_layout(config)),
                "start": In(1),
                "i": In(pass_layout(config)),
                "begin": In(1),
                "done": Out(1),
                "row_index": Out(bits(config.array.accumulator_rows)),
                "row": In(ROW_BITS),
                "statistics": Out(StatisticsReadPort()),
                "own": In(stream.Signature(5)),
                "o": Out(unit_write_layout(config)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        steps, placed = self._walk(m), stream.Signature(self._placed()).create(path=("placed",))
        self._place(m, steps, placed)
        asked = self._ask(m, placed)
        self._write(m, asked)
        return m

    def _placed(self) -> data.StructLayout:
        """Return a unit whose places are known; ``begins``, it is the first of its line of V."""
        unit = unit_layout(self.config)
        names = ("scores", "token", "ends", "sums", "sum", "out")
        kept = {name: unit[name].shape for name in names}
        word = {"maximum": WORD_NUMBER_BITS, "reference": WORD_NUMBER_BITS, "begins": 1}
        return data.StructLayout(word | kept)

    def _walk(self, m: Module) -> Any:
        """Return a stream of the pass's units."""
        job = self.job
        step = data.StructLayout(
            {"row": ROW_BITS, "head": HEAD_BITS, "line": HEAD_LINE_BITS, "begins": 1, "ends": 1}
        )
        steps = stream.Signature(step).create(path=("steps",))
        of_head, group = Signal(HEAD_LINE_BITS), Signal(HEAD_BITS)
        head, member, left = Signal(HEAD_BITS), Signal(HEAD_BITS), Signal(HEAD_BITS)
        index, begins = Signal.like(self.row_index), Signal()
        units = Signal.like(self.i.units)
        last_row, ends, after = Signal(), Signal(), left - group
        m.d.comb += [
            self.row_index.eq(index),
            last_row.eq(index == job.rows - 1),
            ends.eq(last_row & (member == group - 1)),
            steps.valid.eq(units.any()),
            steps.payload.row.eq(self.row),
            steps.payload.head.eq(head + member),
            steps.payload.line.eq(of_head),
            steps.payload.begins.eq(begins),
            steps.payload.ends.eq(ends | (units == 1)),
        ]
        with m.If(self.start):
            m.d.sync += [
                of_head.eq(0),
                head.eq(0),
                member.eq(0),
                index.eq(0),
                group.eq(job.group),
                left.eq(job.heads),
            ]
        with m.If(self.begin):
            m.d.sync += [units.eq(self.i.units), begins.eq(1)]
        with m.Elif(steps.valid & steps.ready):
            m.d.sync += [
                units.eq(units - 1),
                begins.eq(ends),
                index.eq(Mux(last_row, 0, index + 1)),
                member.eq(Mux(ends, 0, member + last_row)),
            ]
            with m.If(ends):
                m.d.sync += of_head.eq(of_head + 1)
                with m.If(of_head == job.head_lines - 1):
                    m.d.sync += [
                        of_head.eq(0),
                        head.eq(head + group),
                        left.eq(after),
                        group.eq(Mux(after < job.queries, after, job.queries)),
                    ]
        return steps

    def _place(self, m: Module, steps: Any, placed: Any) -> None:
        """Say where things are: products, products of those, sums."""
        job, step, o = self.job, steps.payload, placed.payload
        en, _ = advance(m, steps, placed, PLACE_CYCLES)

        def late(value: Value, cycles: int, name: str) -> Value:
            return delay(m, en, value, cycles, name)

        row, pair = step.row, register(m, en, step.row * job.heads + step.head, "pair")
        out_row = late(row * job.out_pitch, 2, "out_row")
        out_line = late(step.head * job.head_lines + step.line, 2, "out_line")
        value = register(m, en, step.head * (job.head_lines + 1), "value")
        line = late(step.line, 1, "line")
        scores = register(m, en, pair * job.scores_pitch, "scores_of_pair")
        maximum = register(m, en, value * job.pitch, "maximum_of_head")
        reference = register(m, en, (value + line + 1) * job.pitch, "reference_of_line")
        total = late(step.head * job.pitch, 2, "sum_of_head")
        row_2 = late(row, 2, "row")
        token = register(m, en, job.position + late(row, 1, "row_1"), "token")
        largest = self.config.kv.max_tokens - 1
        places = {
            "scores": job.scores + scores,
            "out": job.out + out_row + (out_line << 1),
            "maximum": job.maximum + maximum + row_2,
            "reference": job.maximum + reference + row_2,
            "sum": job.sum + total + row_2,
            "token": Mux(token > largest, largest, token),
        }
        for name, place in places.items():
            m.d.comb += o[name].eq(register(m, en, place[: len(o[name])], f"{name}_place"))
        m.d.comb += [
            o.sums.eq(late(step.line == 0, PLACE_CYCLES, "sums")),
            o.begins.eq(late(step.begins, PLACE_CYCLES, "begins")),
            o.ends.eq(late(step.ends, PLACE_CYCLES, "ends")),
        ]

    def _ask(self, m: Module, placed: Any) -> Any:
        """Ask for maximum and reference of each unit; return the queue of those asked for."""
        layout = self._placed()
        m.submodules.asked = asked = SyncFIFOBuffered(width=layout.size, depth=UNITS_ASKED)
        second, request = Signal(), self.statistics.request
        m.d.comb += [
            request.valid.eq(placed.valid & asked.w_rdy),
            request.payload.first.eq(Mux(second, placed.payload.reference, placed.payload.maximum)),
            request.payload.pitch.eq(1),
            request.payload.values.eq(1),
            placed.ready.eq(request.valid & request.ready & second),
            asked.w_data.eq(placed.payload),
            asked.w_en.eq(placed.ready),
        ]
        with m.If(request.valid & request.ready):
            m.d.sync += second.eq(~second)
        return asked

    def _write(self, m: Module, asked: Any) -> None:
        """Write a unit when its maximum and reference have come."""
        unit, write = data.View(self._placed(), asked.r_data), self.o
        response, second = self.statistics.response, Signal()
        index, bank, ends = Signal(bits(slots_of(self.config))), Signal(), Signal()
        maximum, exponent = Signal.like(write.unit.maximum), Signal(5)
        waits, own, written = self.job.own & unit.begins, Signal(5), Signal()
        read = response.payload.value[:5]
        m.d.comb += [
            own.eq(Mux(self.job.own, Mux(unit.begins, self.own.payload, exponent), 0)),
            written.eq(response.valid & second & asked.r_rdy & (~waits | self.own.valid)),
            self.own.ready.eq(written & waits),
            asked.r_en.eq(written),
            response.ready.eq(~second | written),
            write.en.eq(written),
            write.unit.maximum.eq(maximum),
            write.unit.reference.eq(Mux(own > read, own, read)),
            *(
                write.unit[name].eq(unit[name])
                for name in ("scores", "token", "ends", "sums", "sum", "out")
            ),
        ]
        with m.If(response.valid & response.ready):
            m.d.sync += second.eq(~second)
            with m.If(~second):
                m.d.sync += maximum.eq(response.payload.value.as_signed())
        with m.If(written):
            m.d.sync += [exponent.eq(own), index.eq(index + 1)]
        with m.If(self.begin):
            m.d.sync += index.eq(0)
        m.d.comb += [write.index.eq(Cat(index, bank)), self.done.eq(ends)]
        m.d.comb += ends.eq(written & (index == self.i.units - 1))
        with m.If(ends):
            m.d.sync += bank.eq(~bank)
