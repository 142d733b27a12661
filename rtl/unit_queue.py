"""The queue in front of a unit: instructions wait for their tokens, then for their end."""

from typing import Any

from amaranth.hdl import Assert, Cat, Module, Signal, Value
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from hwroute.isa.fields import QUEUED
from hwroute.rtl.decoder import fields_of
from hwroute.rtl.issue_layouts import DONE, INDEX_BITS, ISSUED
from hwroute.sequencer_config import SequencerConfig

UNITS = len(QUEUED)
COMMON = "sync"
"""An instruction that has nothing but the fields that every instruction has."""
STARTED = data.StructLayout({"signal": UNITS, "index": INDEX_BITS})


class UnitQueue(wiring.Component):
    """Hold a unit's instructions until their tokens are there, and give tokens when they end.

    `hwroute.timing.UNIT_QUEUE_CYCLES` from an instruction that comes to its offer to the unit, one
    a cycle. An instruction counts as in flight from the cycle after it took its tokens, the first
    in which it is offered, to the one in which its end comes.

    Parameters
    ----------
    config
        Sizes.

    Members
    -------
    i, o
        Streams of `ISSUED`, from the sequencer and to the unit.
    done
        Stream of `DONE`, in order; always ready.
    enable
        Instructions may start.
    available
        Units of which a token is there.
    take, give
        Units of which the instruction that starts takes a token; to which the one that ends gives
        one.
    start
        An instruction starts in this cycle.
    pending, in_flight, blocked
        There are instructions: any; that have started and not ended; one next that lacks a token.
    next_index, oldest_index
        Of the instruction that is the next to start, of the one that is the next to end.
    """

    def __init__(self, config: SequencerConfig):
        self.config = config
        super().__init__(
            {
                "i": In(stream.Signature(ISSUED)),
                "o": Out(stream.Signature(ISSUED)),
                "done": In(stream.Signature(DONE)),
                "enable": In(1),
                "available": In(UNITS),
                "take": Out(UNITS),
                "give": Out(UNITS),
                "start": Out(1),
                "pending": Out(1),
                "in_flight": Out(1),
                "blocked": Out(1),
                "next_index": Out(INDEX_BITS),
                "oldest_index": Out(INDEX_BITS),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.waiting = waiting = fifo.SyncFIFO(width=ISSUED.size, depth=self.config.queue)
        m.submodules.started = started = fifo.SyncFIFO(
            width=STARTED.size, depth=self.config.in_flight
        )
        head = data.View(ISSUED, waiting.r_data)
        fields = fields_of(head.word, COMMON)
        lacking = Signal()
        m.d.comb += [
            waiting.w_data.eq(Value.cast(self.i.payload)),
            waiting.w_en.eq(self.i.valid),
            self.i.ready.eq(waiting.w_rdy),
            lacking.eq((fields.wait & ~self.available).any()),
            self.blocked.eq(waiting.r_rdy & lacking),
            self.next_index.eq(head.index),
            self.in_flight.eq(started.r_rdy),
            self.pending.eq(waiting.r_rdy | started.r_rdy),
        ]

        free = ~self.o.valid | self.o.ready
        m.d.comb += self.start.eq(waiting.r_rdy & ~lacking & started.w_rdy & free & self.enable)
        with m.If(self.start):
            m.d.comb += [waiting.r_en.eq(1), started.w_en.eq(1), self.take.eq(fields.wait)]
        m.d.comb += started.w_data.eq(Cat(fields.signal, head.index))
        with m.If(free):
            m.d.sync += self.o.valid.eq(self.start)
        with m.If(self.start):
            m.d.sync += self.o.payload.eq(head)

        oldest = data.View(STARTED, started.r_data)
        m.d.comb += [
            self.done.ready.eq(1),
            started.r_en.eq(self.done.valid),
            self.oldest_index.eq(oldest.index),
        ]
        with m.If(self.done.valid):
            m.d.comb += self.give.eq(oldest.signal)
            m.d.sync += Assert(started.r_rdy & (self.done.payload.index == oldest.index))
        return m
