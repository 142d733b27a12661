"""The order in which an NPE instruction goes through its lines."""

from typing import Any

from amaranth.hdl import Array, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hwroute.rtl.accumulation import SLOT_BITS
from hwroute.rtl.npe_operands import LENGTH_BITS, LINE_FLOATS, OPERANDS
from hwroute.rtl.npe_rows import ROW_PLACES
from hwroute.rtl.scratchpad_layouts import LINE_NUMBER_BITS
from hwroute.rtl.vector_layouts import TOKEN_BITS
from hwroute.timing import ROW_SLOTS

STEP = data.StructLayout(
    {
        "x": LINE_NUMBER_BITS,
        "y": LINE_NUMBER_BITS,
        "z": LINE_NUMBER_BITS,
        "slot": SLOT_BITS,
        "group_first": 1,
        "group_last": 1,
        "first": 1,
        "last": 1,
        "head_end": 1,
        "count": range(LINE_FLOATS + 1),
        "base": TOKEN_BITS,
    }
)
"""One line: where the operands are, first and last of the rows in turn, which share y and z (both
set where there is one row), first and last of its row, last of its head, FP32 elements that
count, token id of element 0."""


class LineSteps(wiring.Component):
    """Go through the lines of rows: one row after the other; reductions ROW_SLOTS rows in turn.

    One line a cycle without gaps between rows, which are gathered while others run.

    Members
    -------
    operands
        `hwroute.rtl.npe_operands.OPERANDS`, stable while there are rows.
    i
        Stream of `hwroute.rtl.npe_rows.ROW_PLACES`, none of them empty.
    o
        Stream of `STEP`.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "operands": In(OPERANDS),
                "i": In(stream.Signature(ROW_PLACES)),
                "o": Out(stream.Signature(STEP)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        lines = data.ArrayLayout(LINE_NUMBER_BITS, ROW_SLOTS)
        group = data.StructLayout({"x": lines, "y": LINE_NUMBER_BITS, "last": SLOT_BITS})
        gathered, complete = Signal(group), Signal()
        current, active = Signal(group), Signal()
        taken, ends = Signal(), Signal()
        m.d.comb += taken.eq(complete & (~active | ends))
        self._gather(m, gathered, complete, taken)
        self._walk(m, current, active, ends)
        with m.If(taken):
            m.d.sync += [current.eq(gathered), active.eq(1)]
        with m.Elif(ends):
            m.d.sync += active.eq(0)
        return m

    def _gather(self, m: Module, gathered: Any, complete: Signal, taken: Signal) -> None:
        """Put rows into the next group until it is full or there are no more."""
        place, slot = self.i.payload, Signal(SLOT_BITS)
        m.d.comb += self.i.ready.eq(~complete | taken)
        with m.If(taken):
            m.d.sync += complete.eq(0)
        with m.If(self.i.valid & self.i.ready):
            full = ~self.operands.reduces | (slot == ROW_SLOTS - 1) | place.last
            m.d.sync += [
                gathered.x[slot].eq(place.x),
                gathered.y.eq(place.y),
                gathered.last.eq(slot),
                complete.eq(full),
                slot.eq(Mux(full, 0, slot + 1)),
            ]

    def _walk(self, m: Module, current: Any, active: Signal, ends: Signal) -> None:
        """Go through the lines of the current group."""
        operands, o = self.operands, self.o.payload
        slot, head, line = Signal(SLOT_BITS), Signal(8), Signal(LENGTH_BITS)
        x, y = Signal(LINE_NUMBER_BITS), Signal(LENGTH_BITS)
        passed = Signal(TOKEN_BITS + 1)
        left = operands.count - passed
        row_start = current.y + y
        m.d.comb += [
            self.o.valid.eq(active),
            o.x.eq(Array(current.x[number] for number in range(ROW_SLOTS))[slot] + x),
            o.y.eq(row_start),
            o.z.eq(row_start + operands.length),
            o.slot.eq(slot),
            o.group_first.eq(slot == 0),
            o.group_last.eq(slot == current.last),
            o.first.eq((head == 0) & (line == 0)),
            o.head_end.eq(line + 1 == operands.length),
            o.last.eq(o.head_end & (head + 1 == operands.heads)),
            o.count.eq(Mux(left > LINE_FLOATS, LINE_FLOATS, left)),
            o.base.eq(operands.base + passed),
            ends.eq(self.o.valid & self.o.ready & o.last & (slot == current.last)),
        ]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += slot.eq(slot + 1)
            with m.If(slot == current.last):
                m.d.sync += [
                    slot.eq(0),
                    line.eq(line + 1),
                    x.eq(x + 1),
                    y.eq(y + 1),
                    passed.eq(passed + LINE_FLOATS),
                ]
                with m.If(o.head_end):
                    m.d.sync += [
                        line.eq(0),
                        passed.eq(0),
                        head.eq(head + 1),
                        x.eq(x + 1 + operands.skip),
                    ]
                    with m.If(operands.repeats_y):
                        m.d.sync += y.eq(0)
        with m.If(ends):
            m.d.sync += [head.eq(0), x.eq(0), y.eq(0)]
