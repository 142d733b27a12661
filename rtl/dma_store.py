"""Move rows from the scratchpad to DDR, and single token ids."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from hwroute.rtl.axi import DDR_PORT, LINE_BEATS
from hwroute.rtl.dma_layouts import COMMAND, Move
from hwroute.rtl.dma_load import ROWS_AHEAD
from hwroute.rtl.issue_layouts import DONE, REGISTER_BITS
from hwroute.rtl.memory_layouts import ANSWER, REQUEST, store_layout
from hwroute.rtl.scratchpad_layouts import ReadPort

IDS_A_BEAT = DDR_PORT.data_bits // REGISTER_BITS
ID_BYTES = REGISTER_BITS // 8
SENT = data.StructLayout({name: COMMAND[name].shape for name in ("bare", "end", "error", "index")})
"""What is still to be known of a row when DDR answers."""


class DMAStorer(wiring.Component):
    """Read the lines of each row, and write them as beats. A line every two cycles.

    Consecutive lines of a row are one request. A PUT must be alone inside.

    Members
    -------
    i
        Stream of `COMMAND`: STORE and PUT.
    read
        `ReadPort` of the scratchpad.
    write, data, answer
        Requests to DDR, the beats to write, and the answers.
    done
        Stream of `DONE`: DDR has answered all of an instruction.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "i": In(stream.Signature(COMMAND)),
                "read": Out(ReadPort()),
                "write": Out(stream.Signature(REQUEST)),
                "data": Out(stream.Signature(store_layout(DDR_PORT.words))),
                "answer": In(stream.Signature(ANSWER)),
                "done": Out(stream.Signature(DONE)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.order = order = SyncFIFOBuffered(width=SENT.size, depth=ROWS_AHEAD)
        command, line, asked = self.i.payload, self.read.request, self.write.payload
        left = Signal(COMMAND["lines"].shape)
        puts, lower_beat = command.move == Move.PUT, command.word[(IDS_A_BEAT - 1).bit_length() :]
        m.d.comb += [
            self.i.ready.eq(
                order.w_rdy
                & (~self.write.valid | self.write.ready)
                & (~line.valid | (line.ready & (left == 1)))
            ),
            order.w_en.eq(self.i.valid & self.i.ready),
            order.w_data.eq(Cat(Value.cast(command[name]) for name, _ in SENT)),
        ]
        with m.If(self.write.ready):
            m.d.sync += self.write.valid.eq(0)
        with m.If(line.valid & line.ready):
            m.d.sync += [
                line.valid.eq(left != 1),
                left.eq(left - 1),
                line.payload.line.eq(line.payload.line + 1),
            ]
        with m.If(order.w_en & ~command.bare):
            m.d.sync += [
                self.write.valid.eq(1),
                asked.first.eq(command.ddr * LINE_BEATS + Mux(puts, lower_beat, 0)),
                asked.count.eq(Mux(puts, 1, command.lines * LINE_BEATS)),
                line.valid.eq(~puts),
                line.payload.line.eq(command.scratchpad),
                left.eq(command.lines),
            ]
        self._send(m, order.w_en & ~command.bare & puts)
        self._finish(m, order)
        return m

    def _send(self, m: Module, put: Value) -> None:
        """Send the halves of the lines that the scratchpad gives, or the id of a PUT."""
        line, beat, command = self.read.response, self.data.payload, self.i.payload
        whole, upper, free = Value.cast(line.payload), Signal(), Signal()
        lane = command.word[: (IDS_A_BEAT - 1).bit_length()]
        m.d.comb += [free.eq(~self.data.valid | self.data.ready), line.ready.eq(upper & free)]
        with m.If(self.data.ready):
            m.d.sync += self.data.valid.eq(0)
        with m.If(line.valid & free):
            m.d.sync += [
                self.data.valid.eq(1),
                Value.cast(beat.data).eq(whole.word_select(upper, DDR_PORT.data_bits)),
                beat.strobe.eq(~0),
                upper.eq(~upper),
            ]
        with m.If(put):
            m.d.sync += [
                self.data.valid.eq(1),
                Value.cast(beat.data).eq(command.value.replicate(IDS_A_BEAT)),
                beat.strobe.eq(((1 << ID_BYTES) - 1) << (lane * ID_BYTES)),
            ]

    def _finish(self, m: Module, order: Any) -> None:
        """Take the answers; end an instruction with that of its last row."""
        row = data.View(SENT, order.r_data)
        failed, error, free = Signal(), Signal(), Signal()
        m.d.comb += [
            free.eq(~self.done.valid | self.done.ready),
            self.answer.ready.eq(order.r_rdy & ~row.bare & free),
            order.r_en.eq(order.r_rdy & free & (row.bare | self.answer.valid)),
            error.eq(row.error | failed | (~row.bare & self.answer.payload.error)),
        ]
        with m.If(free):
            m.d.sync += self.done.valid.eq(order.r_en & row.end)
        with m.If(order.r_en):
            m.d.sync += [
                failed.eq(error & ~row.end),
                self.done.payload.error.eq(error),
                self.done.payload.index.eq(row.index),
            ]
