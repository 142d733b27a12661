"""Walk through the rows of DMA instructions."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hwroute.config import Config
from hwroute.isa.table import BY_NAME
from hwroute.rtl.decoder import fields_of
from hwroute.rtl.dma_layouts import IDS, ROW_TO_MOVE, WORD_BITS, Move
from hwroute.rtl.issue_layouts import ISSUED
from hwroute.rtl.row_list_layouts import RowListPort


class DMARows(wiring.Component):
    """Give the rows of each instruction in order; `hwroute.memory_timing` has the latencies.

    A row comes every `DMA_ROW_CYCLES`. A gather takes `DMA_GATHER_ROW_CYCLES` a row, and waits
    besides whenever a row's id is in another line than that of the row before. An instruction that
    turns the direction of data around waits until those before it are done, so no memory is read
    before it is written. With a plane that holds no row an instruction does nothing.

    Parameters
    ----------
    config
        Size of a tile.

    Members
    -------
    i
        Stream of `ISSUED`, of the DMA's instructions.
    rows
        `RowListPort`.
    o
        Stream of `ROW_TO_MOVE`.
    ids
        Stream of `IDS`, one for each IDS that was given.
    dropping : ``In(1)``
        An IDS that was given is dropped.
    settled : ``In(1)``
        All rows that were given are on their way, or dropped.
    quiet : ``In(1)``
        All instructions whose end was given are done.
    """

    def __init__(self, config: Config):
        self.tile = config.array.accumulator_rows
        super().__init__(
            {
                "i": In(stream.Signature(ISSUED)),
                "rows": Out(RowListPort()),
                "o": Out(stream.Signature(ROW_TO_MOVE)),
                "ids": In(stream.Signature(IDS)),
                "dropping": In(1),
                "settled": In(1),
                "quiet": In(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        one = Signal(ISSUED, reset_less=True)
        put, store, gather = (_is(one, name) for name in ("put", "store", "gather"))
        # The row at hand: its token's position, and what `ROW_TO_MOVE` says of it.
        place = Signal(len(one.position) + 1)
        row = Signal(ROW_TO_MOVE)
        # Whether it needs the line of its id instead; whether the line read last is still right.
        asking, known = Signal(), Signal()
        per_row = gather | (~put & fields_of(one.word, "load").per_row)
        m.d.comb += asking.eq(put)
        self._describe(m, one, row, place, asking)
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += one.eq(self.i.payload)
                with m.If(self.i.valid):
                    m.next = "START"
            with m.State("START"):
                m.d.sync += [row.end.eq(1), row.bare.eq(0), row.row.eq(0)]
                m.d.sync += [place.eq(one.position), row.times.eq(one.value)]
                planned = fields_of(one.word, "load").plane.any()
                outside = (~put | planned) & ((one.rows == 0) | (one.rows > self.tile))
                # An instruction before, or the host, may have written ids.
                m.d.sync += [row.bad.eq(outside), known.eq(0)]
                with m.If(self._may_start(m, put, store)):
                    m.next = "SEND"
                    with m.If((per_row | planned) & ~outside):
                        m.next = "ASK"
            with m.State("ASK"):
                m.d.comb += self.rows.request.valid.eq(1)
                with m.If(self.rows.request.ready):
                    m.next = "COUNT"
                    with m.If(per_row):
                        m.next = "LIST"
            with m.State("COUNT"):
                # One row for all: it moves if there is any.
                m.d.comb += self.rows.rows.ready.eq(1)
                m.d.sync += row.bare.eq(self.rows.rows.payload.empty)
                with m.If(self.rows.rows.valid & self.rows.rows.payload.last):
                    m.next = "SEND"
            with m.State("LIST"):
                listed = self.rows.rows.payload
                m.d.comb += self.rows.rows.ready.eq(1)
                m.d.sync += [row.end.eq(listed.last), row.bare.eq(listed.empty), row.bad.eq(0)]
                m.d.sync += [place.eq(one.position + listed.row), row.row.eq(listed.row)]
                m.d.sync += row.times.eq(one.value + listed.row)
                with m.If(self.rows.rows.valid):
                    m.next = "SEND"
                    with m.If(gather & ~listed.empty):
                        m.next = "FIND"
            self._find_id(m, one, row, place, asking, known)
            with m.State("SEND"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.next = "LIST"
                    with m.If(row.end):
                        m.next = "IDLE"
        return m

    def _may_start(self, m: Module, put: Value, store: Value) -> Value:
        """Return whether the instruction at hand may start; if so, remember its direction."""
        # The data of a put do not go through the scratchpad's port: nothing runs beside it.
        alone, writing = Signal(), Signal()
        same = ~put & ~alone & (store == writing)
        start = self.settled & (self.quiet | same)
        with m.If(start):
            m.d.sync += [alone.eq(put), writing.eq(store)]
        return start

    def _describe(self, m: Module, one: Any, row: Any, place: Signal, asking: Signal) -> None:
        """Give the row at hand; while `asking`, the line that holds the id at `place`."""
        load, gather = (fields_of(one.word, name) for name in ("load", "gather"))
        gathers, asked = _is(one, "gather"), self.rows.request.payload
        ids = Mux(_is(one, "put"), fields_of(one.word, "put").ids, gather.ids)
        stride = Mux(gathers, gather.lines, load.stride)
        moves = Mux(_is(one, "store"), Move.STORE.value, Move.LOAD.value)
        asks = Mux(_is(one, "put"), Move.PUT.value, Move.IDS.value)
        given = self.o.payload
        m.d.comb += [
            asked.plane.eq(load.plane),
            asked.rows.eq(one.rows),
            given.move.eq(Mux(asking, asks, moves)),
            *(given[name].eq(row[name]) for name in ("bare", "bad", "row")),
            given.end.eq(row.end & (~asking | _is(one, "put"))),
            given.index.eq(one.index),
            given.value.eq(one.value),
            given.word.eq(place[:WORD_BITS]),
            given.base.eq(Mux(asking, ids, Mux(gathers, gather.table, load.address))),
            given.stride.eq(Mux(asking, 1, stride)),
            given.times.eq(Mux(asking, place[WORD_BITS:], row.times)),
            given.lines.eq(Mux(asking, 1, Mux(gathers, gather.lines, load.lines))),
            # The same bits in every instruction that has a matrix in the scratchpad.
            given.to.eq(load.to),
            given.pitch.eq(load.to_pitch),
        ]

    def _find_id(
        self, m: Module, one: Any, row: Any, place: Signal, asking: Signal, known: Signal
    ) -> None:
        """Read the id at `place`, which is the row's index in the table."""
        line = Signal(IDS, reset_less=True)
        held = Signal(len(place) - WORD_BITS)
        with m.State("FIND"):
            with m.If(known & (held == place[WORD_BITS:])):
                m.next = "PICK"
            with m.Else():
                m.d.comb += [asking.eq(1), self.o.valid.eq(1)]
                with m.If(self.o.ready):
                    m.next = "ARRIVE"
        with m.State("ARRIVE"):
            m.d.comb += self.ids.ready.eq(1)
            m.d.sync += [line.eq(self.ids.payload), held.eq(place[WORD_BITS:])]
            with m.If(self.ids.valid):
                m.d.sync += known.eq(1)
                m.next = "PICK"
            with m.Elif(self.dropping):
                m.next = "SEND"
        with m.State("PICK"):
            m.d.sync += row.times.eq(line.ids[place[:WORD_BITS]])
            m.next = "JUDGE"
        with m.State("JUDGE"):
            vocabulary = fields_of(one.word, "gather").vocabulary
            m.d.sync += row.bad.eq(line.error | (row.times >= vocabulary))
            m.next = "SEND"


def _is(one: Any, name: str) -> Value:
    """Return whether an issued instruction has this opcode."""
    return fields_of(one.word, name).opcode == BY_NAME[name].code
