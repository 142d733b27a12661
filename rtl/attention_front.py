"""Take up scores and values instructions: list their rows, find their heads, tell their end."""

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from hwroute.config import Config
from hwroute.rtl.attention_layouts import VECTOR_LINE_BITS, entries_shape
from hwroute.rtl.decoder import fields_of
from hwroute.rtl.issue_layouts import DONE, ISSUED
from hwroute.rtl.kv_layouts import bits
from hwroute.rtl.pipeline import register
from hwroute.rtl.row_list_layouts import ROW_BITS, RowListPort

CHECK_CYCLES = 3
"""Until it is known where an instruction leads."""


class AttentionFront(wiring.Component):
    """Make a job of each instruction, one after the other.

    An instruction is in error whose tile is empty or too long, that leads beyond a memory, whose
    heads are not in the vector, that has no entry, or that read something that could not be read.
    One without rows only ends. KV heads are counted one by one, a cycle each.

    What a kind of instruction looks at besides is in its `_check`.

    Parameters
    ----------
    config
        Sizes of memories and array.
    name
        Of the instruction.
    job
        Layout of a job: fields of the instruction, and position, entries, rows, line and group.
    copied
        Which fields these are.

    Members
    -------
    issue, done
        Streams of `hwroute.rtl.issue_layouts.ISSUED` and `DONE`.
    list
        `hwroute.rtl.row_list_layouts.RowListPort`.
    entries, vector_lines
        Of the KV unit: entries of the order; lines of a vector.
    job
        A job, stable until it has ended.
    start
        The job begins.
    ended
        The job has ended.
    row_index, row
        Index in the table of the job's rows, and the row there.
    memory_error
        Something that was asked for could not be read.
    """

    def __init__(self, config: Config, name: str, job: data.StructLayout, copied: Sequence[str]):
        self.config = config
        self.name = name
        self.copied = tuple(copied)
        self.rows = config.array.accumulator_rows
        super().__init__(
            {
                "issue": In(stream.Signature(ISSUED)),
                "done": Out(stream.Signature(DONE)),
                "list": Out(RowListPort()),
                "entries": In(entries_shape(config)),
                "vector_lines": In(VECTOR_LINE_BITS),
                "job": Out(job),
                "start": Out(1),
                "ended": In(1),
                "row_index": In(bits(self.rows)),
                "row": Out(ROW_BITS),
                "memory_error": In(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        issued, error, asked = Signal(ISSUED), Signal(), Signal()
        fields = fields_of(issued.word, self.name)
        count, last_row = Signal(range(self.rows + 1)), Signal(ROW_BITS)
        stored, rows = Signal(), self.list.rows
        self._table(m, stored, count)
        load, counted = Signal(), Signal()
        wrong = self._check(m, fields, last_row, self._count(m, fields, load, counted))
        no_tile = (issued.rows == 0) | (issued.rows > self.rows)
        empty = ~count.any()
        wait = Signal(range(CHECK_CYCLES + 1))
        m.d.comb += [
            self.list.request.payload.plane.eq(fields.plane),
            self.list.request.payload.rows.eq(issued.rows),
            self.done.payload.index.eq(issued.index),
            self.done.payload.error.eq(error),
            self.job.rows.eq(count),
            self.job.position.eq(issued.position),
            self.job.entries.eq(self.entries),
            *(self.job[name].eq(fields[name]) for name in self.copied),
        ]
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.issue.ready.eq(1)
                m.d.sync += [issued.eq(self.issue.payload), count.eq(0), asked.eq(0), wait.eq(0)]
                with m.If(self.issue.valid):
                    m.next = "LIST"
            with m.State("LIST"):
                m.d.comb += [self.list.request.valid.eq(~asked), rows.ready.eq(1), load.eq(1)]
                with m.If(self.list.request.ready):
                    m.d.sync += asked.eq(1)
                with m.If(rows.valid):
                    m.d.comb += stored.eq(~rows.payload.empty)
                    m.d.sync += [count.eq(count + stored), last_row.eq(rows.payload.row)]
                    with m.If(rows.payload.last):
                        m.next = "COUNT"
            with m.State("COUNT"), m.If(counted):
                m.next = "CHECK"
            with m.State("CHECK"):
                m.d.sync += [wait.eq(wait + 1), error.eq(no_tile | (wrong & ~empty))]
                with m.If(wait == CHECK_CYCLES):
                    m.next = "START"
            with m.State("START"):
                m.next = "DONE"
                with m.If(~error & ~empty):
                    m.d.comb += self.start.eq(1)
                    m.next = "RUN"
            with m.State("RUN"):
                with m.If(self.memory_error):
                    m.d.sync += error.eq(1)
                with m.If(self.ended):
                    m.next = "DONE"
            with m.State("DONE"):
                m.d.comb += self.done.valid.eq(1)
                with m.If(self.done.ready):
                    m.next = "IDLE"
        return m

    def _table(self, m: Module, stored: Signal, count: Signal) -> None:
        """Keep the rows."""
        m.submodules.rows = rows = memory.Memory(shape=ROW_BITS, depth=self.rows, init=[])
        write, read = rows.write_port(), rows.read_port(domain="comb")
        m.d.comb += [
            write.en.eq(stored),
            write.addr.eq(count),
            write.data.eq(self.list.rows.payload.row),
            read.addr.eq(self.row_index),
            self.row.eq(read.data),
        ]

    def _count(
        self, m: Module, fields: Any, load: Signal, counted: Signal
    ) -> tuple[Value, Value, Value]:
        """Find the KV heads; return what `_check` takes."""
        queries, lines = fields.queries, fields.head_lines
        low, high = Signal(len(queries) + 1), Signal(len(queries) + 1)
        first, last = Signal.like(low, name="first"), Signal.like(high, name="last")
        rest = Signal.like(self.vector_lines, name="rest")
        below = fields.heads + fields.first - 1
        with m.If(load):
            m.d.sync += [low.eq(fields.first), high.eq(below), rest.eq(self.vector_lines)]
            m.d.sync += [first.eq(0), last.eq(0)]
        with m.Else():
            for left, number in ((low, first), (high, last)):
                with m.If(left >= queries):
                    m.d.sync += [left.eq(left - queries), number.eq(number + 1)]
            with m.If(rest >= lines):
                m.d.sync += rest.eq(rest - lines)
        group = queries - low
        m.d.comb += [
            counted.eq((low < queries) & (high < queries) & (rest < lines)),
            self.job.line.eq(register(m, 1, first * lines, "line")),
            self.job.group.eq(
                register(m, 1, Mux(group > fields.heads, fields.heads, group)[:8], "group")
            ),
        ]
        return first, last, rest.any()

    def _check(
        self, m: Module, fields: Any, last_row: Signal, heads: tuple[Value, Value, Value]
    ) -> Signal:
        """Return, `CHECK_CYCLES` later, whether an instruction with rows leads where it must not.

        heads: the first KV head, the last one, and whether heads do not divide the vector.
        """
        raise NotImplementedError
