"""Walk over a stored order: each entry of a sweep with what its source needs to bring it."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hwroute.config import Config, KVConfig
from hwroute.rtl.attention_layouts import SWEEP, source_count
from hwroute.rtl.kv_layouts import bits, order_layout, pass_layout
from hwroute.rtl.kv_map import (
    BASE_BITS,
    EXPONENT_BEAT_BITS,
    LINE_HBM_BEATS,
    VECTOR_BEAT_BITS,
    pairing,
)
from hwroute.rtl.kv_port_reader import ENTRY_REQUEST
from hwroute.rtl.kv_source import ENTRY_LINES
from hwroute.rtl.ram import Ram


def step_layout(config: Config) -> data.StructLayout:
    """Return one entry of a sweep, or with ``entry.end`` its end.

    ``buffer`` is for the history buffer, ``request`` for the HBM port (if that is the source),
    ``lines`` for the source.
    """
    return data.StructLayout(
        {
            "source": bits(source_count(config)),
            "buffer": pass_layout(config.kv),
            "request": ENTRY_REQUEST,
            "lines": ENTRY_LINES,
        }
    )


class KVWalk(wiring.Component):
    """Store an order, and go through it once for each sweep.

    One entry a cycle, stored and walked; latency 5 cycles from a sweep to its first entry. In the
    first sweep of K and the first of V after an order, entries come from the history buffer and go
    into it as the order says, then as whole vectors; in others all come from HBM. An order is taken
    when no sweep is under way or asked for, a sweep when no order is half there.

    Parameters
    ----------
    config
        Sources, tokens, beats.

    Members
    -------
    clear : ``In(1)``, forget the order
    order
        Stream of `hwroute.rtl.kv_layouts.order_layout`.
    ordered : ``Out(1)``, pulse: an order is stored
    entries : ``Out``, of the order that is stored
    base, vector, exponents : ``In``, beats of HBM as kv.map has them; stable
    sweep
        Stream of `hwroute.rtl.attention_layouts.SWEEP`.
    o
        Stream of `step_layout`.
    """

    def __init__(self, config: Config):
        self.config = config
        self.pairing = pairing(config.kv)
        super().__init__(
            {
                "clear": In(1),
                "order": In(stream.Signature(order_layout(config.kv))),
                "ordered": Out(1),
                "entries": Out(range(config.kv.max_tokens + 1)),
                "base": In(BASE_BITS),
                "vector": In(VECTOR_BEAT_BITS),
                "exponents": In(EXPONENT_BEAT_BITS),
                "sweep": In(stream.Signature(SWEEP)),
                "o": Out(stream.Signature(step_layout(config))),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        kv: KVConfig = self.config.kv
        m.submodules.stored = stored = Ram(order_layout(kv), kv.max_tokens)
        storing, fresh = Signal(), Signal(2)
        sweep, uses_buffer = Signal(SWEEP), Signal()
        self._store(m, stored, storing, fresh)
        ends = Signal()
        with m.FSM() as fsm:
            with m.State("IDLE"):
                m.d.comb += self.sweep.ready.eq(~storing)
                with m.If(self.sweep.valid & self.sweep.ready):
                    value = self.sweep.payload.value
                    m.d.sync += [
                        sweep.eq(self.sweep.payload),
                        uses_buffer.eq(fresh.bit_select(value, 1)),
                        fresh.bit_select(value, 1).eq(0),
                    ]
                    m.next = "PREPARE"
            with m.State("PREPARE"):
                m.next = "WALK"
            with m.State("WALK"), m.If(ends):
                m.next = "IDLE"
        m.d.comb += self.order.ready.eq(storing | (fsm.ongoing("IDLE") & ~self.sweep.valid))
        entry, product = self._read(m, stored, fsm.ongoing("PREPARE"))
        m.d.comb += ends.eq(self.o.valid & self.o.ready & entry.end)
        self._describe(m, sweep, uses_buffer, entry, product)
        return m

    def _store(self, m: Module, stored: Any, storing: Signal, fresh: Signal) -> None:
        """Store the entries of an order."""
        entry, row = self.order.payload, Signal.like(self.entries)
        taken = self.order.valid & self.order.ready
        m.d.comb += [
            stored.write_en.eq(taken & ~entry.end),
            stored.write_addr.eq(row),
            stored.write_data.eq(entry),
        ]
        m.d.sync += self.ordered.eq(taken & entry.end)
        with m.If(taken):
            m.d.sync += [storing.eq(~entry.end), row.eq(Mux(entry.end, 0, row + 1))]
            with m.If(entry.end):
                m.d.sync += [self.entries.eq(row), fresh.eq(0b11)]
        with m.If(self.clear):
            m.d.sync += [storing.eq(0), row.eq(0), self.entries.eq(0)]

    def _read(self, m: Module, stored: Any, begin: Value) -> tuple[Any, Signal]:
        """Read entry by entry; return the one to hand out, and where its slot begins."""
        row, reading, read, ends = Signal.like(self.entries), Signal(), Signal(), Signal()
        slot_beats = Signal(VECTOR_BEAT_BITS + 2)
        entry = Signal(stored.read_data.shape())
        product = Signal(32)
        move = ~self.o.valid | self.o.ready
        m.d.sync += slot_beats.eq(2 * self.vector + self.exponents)
        m.d.comb += [stored.read_addr.eq(row), stored.read_en.eq(move)]
        with m.If(move):
            m.d.sync += [
                read.eq(reading),
                ends.eq(row == self.entries),
                row.eq(row + 1),
                self.o.valid.eq(read),
                entry.eq(Mux(ends, 0, stored.read_data)),
                product.eq(stored.read_data.slot * slot_beats),
            ]
            with m.If(ends):
                m.d.sync += entry.end.eq(1)
            with m.If(row == self.entries):
                m.d.sync += reading.eq(0)
        with m.If(begin):
            m.d.sync += [row.eq(0), reading.eq(1)]
        return entry, product

    def _describe(
        self, m: Module, sweep: Any, uses_buffer: Signal, entry: Any, product: Signal
    ) -> None:
        """Say what of the entry is brought, by whom and how."""
        step, kv, halve = self.o.payload, self.config.kv, self.pairing - 1
        hit, keep, whole = Signal(), Signal(), Signal()
        m.d.comb += [
            hit.eq(entry.hit & uses_buffer),
            keep.eq(entry.keep & uses_buffer),
            whole.eq(hit | keep),
        ]
        # Nothing below changes during a sweep, whose first entry comes later than these registers.
        first_line = sweep.line * LINE_HBM_BEATS
        part, tail = sweep.lines * LINE_HBM_BEATS, Mux(sweep.value, 0, self.exponents)
        joined = part + first_line == self.vector
        vector_first = self.base + Mux(sweep.value, self.vector + self.exponents, 0)
        registers = {
            "whole_first": (BASE_BITS + 1, vector_first),
            "part_first": (BASE_BITS + 1, vector_first + first_line),
            "whole_count": (VECTOR_BEAT_BITS + 1, self.vector + tail),
            "part_count": (VECTOR_BEAT_BITS + 1, part + Mux(joined, tail, 0)),
            "gap": (VECTOR_BEAT_BITS, self.vector - first_line),
            "split": (1, ~sweep.value & ~joined),
            "whole_beats": (len(step.buffer.beats), (self.vector + tail + halve) >> halve),
            "part_beats": (len(step.buffer.beats), (part + tail + halve) >> halve),
        }
        of = {name: Signal(width, name=name) for name, (width, _) in registers.items()}
        m.d.sync += [of[name].eq(value) for name, (_, value) in registers.items()]
        changed = {"hit": hit, "keep": keep}
        m.d.comb += [
            step.source.eq(Mux(hit, entry.bank, kv.buffer_banks + entry.port)),
            step.buffer.value.eq(sweep.value),
            step.buffer.beats.eq(Mux(whole, of["whole_beats"], of["part_beats"])),
            *(
                step.buffer.entry[name].eq(changed.get(name, entry[name]))
                for name in entry.shape().members
            ),
            step.request.first.eq(product + Mux(whole, of["whole_first"], of["part_first"])),
            step.request.count.eq(Mux(whole, of["whole_count"], of["part_count"])),
            step.request.split.eq(of["split"] & ~whole),
            step.request.gap.eq(of["gap"]),
            step.lines.sweep.eq(sweep),
            step.lines.whole.eq(whole),
        ]
