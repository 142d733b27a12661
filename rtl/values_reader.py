"""Read the scores of every unit and batch, and put them into the lanes of their sources."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from hwroute.config import Config
from hwroute.isa.fields import LINE_ELEMENTS
from hwroute.rtl.attention_layouts import batch_layout, entries_shape, source_count
from hwroute.rtl.kv_layouts import bits
from hwroute.rtl.pipeline import advance, delay, register
from hwroute.rtl.scratchpad_layouts import LINE, ReadPort
from hwroute.rtl.softmax import shifted_scores_layout
from hwroute.rtl.streams import Fork
from hwroute.rtl.values_layouts import (
    job_layout,
    pass_layout,
    slots_of,
    unit_bits,
    unit_table,
    unit_write_layout,
)
from hwroute.timing import SCRATCHPAD_QUEUE_LINES

PLACE_BITS = (LINE_ELEMENTS - 1).bit_length()
BATCHES = 4
"""Batches whose scores are on their way; a unit alone in its pass has one read a batch."""


class ValuesReader(wiring.Component):
    """Read scores batch by batch, in each unit by unit. A unit a cycle, two where they straddle.

    Scores lie in the order of entries; an entry's goes to the lane of its source, the own one to
    lane 0. Lanes without an entry, or with one that the unit does not attend to, are masked.

    Parameters
    ----------
    config
        Of array and memories.

    Members
    -------
    job
        `hwroute.rtl.values_layouts.job_layout`, stable.
    i
        Stream of `hwroute.rtl.values_layouts.pass_layout`: passes whose units are there.
    unit
        `hwroute.rtl.values_layouts.unit_write_layout`: the units of passes.
    batches
        Stream of `hwroute.rtl.attention_layouts.batch_layout`.
    read
        `hwroute.rtl.scratchpad_layouts.ReadPort`.
    o
        Stream of `hwroute.rtl.softmax.shifted_scores_layout`, rows being units.
    """

    def __init__(self, config: Config):
        self.config = config
        self.slots = slots_of(config)
        self.sources = source_count(config)
        self.step = data.StructLayout(
            {
                "unit": unit_bits(config),
                "place": PLACE_BITS,
                "two": 1,
                "own": 1,
                "first": 1,
                "last": 1,
                "ends": 1,
            }
        )
        super().__init__(
            {
                "job": In(job_layout(config)),
                "i": In(stream.Signature(pass_layout(config))),
                "unit": In(unit_write_layout(config)),
                "batches": In(stream.Signature(batch_layout(config))),
                "read": Out(ReadPort()),
                "o": Out(
                    stream.Signature(shifted_scores_layout(1 << unit_bits(config), self.sources))
                ),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        layout = batch_layout(self.config)
        m.submodules.fork = fork = Fork(layout)
        m.submodules.batches = batches = SyncFIFOBuffered(width=layout.size, depth=BATCHES)
        m.submodules.steps = steps = SyncFIFOBuffered(
            width=self.step.size, depth=SCRATCHPAD_QUEUE_LINES
        )
        # An empty order has one batch, without entries.
        counts = self.batches.payload.count.any()
        m.d.comb += [
            fork.i.valid.eq(self.batches.valid & counts),
            fork.i.payload.eq(self.batches.payload),
            self.batches.ready.eq(fork.i.ready | ~counts),
            batches.w_data.eq(fork.o_1.payload),
            batches.w_en.eq(fork.o_1.valid),
            fork.o_1.ready.eq(batches.w_rdy),
        ]
        self._ask(m, fork.o_0, steps)
        self._gather(m, data.View(layout, batches.r_data), batches, steps)
        return m

    def _ask(self, m: Module, batch: Any, steps: Any) -> None:
        """Ask for the lines of every unit and batch."""
        request, made = self.read.request, data.View(self.step, steps.w_data)
        active, own, fresh, second = Signal(), Signal(), Signal(), Signal()
        element, unit = Signal(entries_shape(self.config)), Signal(bits(self.slots))
        bank, done = Signal(), Signal()
        number = Cat(unit, bank)
        table = unit_table(m, self.config, self.unit, ("scores",), number)
        place, two, last_unit, last = element[:PLACE_BITS], Signal(), Signal(), Signal()
        free, steps_on, ends = ~request.valid | request.ready, Signal(), Signal()
        can = active & (own | batch.valid) & free & steps.w_rdy
        m.d.comb += [
            two.eq(~own & (place + batch.payload.count > LINE_ELEMENTS)),
            last_unit.eq(unit == self.i.payload.units - 1),
            steps_on.eq(can & (second | ~two)),
            ends.eq(steps_on & last_unit),
            batch.ready.eq(ends & ~own),
            steps.w_en.eq(steps_on),
            made.unit.eq(number),
            made.place.eq(place),
            made.two.eq(two),
            made.own.eq(own),
            made.first.eq(fresh),
            made.last.eq(last),
            last.eq(own | (batch.payload.last & ~self.job.own)),
            done.eq(ends & last),
            self.i.ready.eq(done),
            made.ends.eq(last_unit),
        ]
        with m.If(free):
            m.d.sync += [
                request.valid.eq(can),
                request.payload.line.eq(table.scores + (element >> PLACE_BITS) + second),
            ]
        with m.If(~active):
            m.d.sync += [
                active.eq(self.i.valid),
                own.eq(~self.job.entries.any()),
                fresh.eq(1),
                element.eq(0),
                unit.eq(0),
                second.eq(0),
            ]
        with m.Elif(can):
            m.d.sync += [second.eq(~steps_on), unit.eq(Mux(ends, 0, unit + steps_on))]
            with m.If(ends):
                m.d.sync += [fresh.eq(0), active.eq(~last), bank.eq(bank ^ done)]
                with m.If(~own):
                    m.d.sync += [
                        element.eq(element + batch.payload.count),
                        own.eq(batch.payload.last & self.job.own),
                    ]

    def _gather(self, m: Module, batch: Any, batches: Any, steps: Any) -> None:
        """Take the lines of a unit, and give every lane the score of its entry."""
        step, response = data.View(self.step, steps.r_data), self.read.response
        before, held = Signal(LINE), Signal()
        taken = stream.Signature(1).create(path=("taken",))
        en, _ = advance(m, taken, self.o, 2)
        fires = Signal()
        m.d.comb += [
            taken.valid.eq(
                steps.r_rdy & response.valid & (held | ~step.two) & (step.own | batches.r_rdy)
            ),
            fires.eq(taken.valid & taken.ready),
            response.ready.eq(fires | (steps.r_rdy & step.two & ~held)),
            steps.r_en.eq(fires),
            batches.r_en.eq(fires & step.ends & ~step.own),
        ]
        with m.If(response.valid & response.ready):
            m.d.sync += [before.eq(response.payload), held.eq(~fires)]
        lines = [
            Mux(step.two & (step.place <= element), before[element], response.payload[element])
            for element in range(LINE_ELEMENTS)
        ]
        merged = register(m, en, Cat(lines), "merged")
        token = unit_table(m, self.config, self.unit, ("token",), step.unit).token
        late = data.View(self.step, register(m, en, steps.r_data, "step"))
        maximum = unit_table(m, self.config, self.unit, ("maximum",), late.unit).maximum
        o = self.o.payload
        for source in range(self.sources):
            entry = batch.sources[source]
            visible = ~step.own & entry.valid & (entry.token <= token)
            index = Mux(step.own, 0, entry.index)
            if source == 0:
                visible = step.own | visible
            place = register(m, en, (step.place + index)[:PLACE_BITS], f"place_{source}")
            score = merged.word_select(place, 16)
            mask = delay(m, en, visible, 2, f"visible_{source}")
            m.d.comb += [
                o.scores[source].eq(register(m, en, score, f"score_{source}")),
                o.mask[source].eq(mask),
            ]
        m.d.comb += [
            o.slot.eq(register(m, en, late.unit, "slot")),
            o.maximum.eq(register(m, en, maximum, "maximum")),
            o.first.eq(register(m, en, late.first, "first")),
            o.last.eq(register(m, en, late.last, "last")),
        ]
