"""The `values` instruction: probabilities by values, around the PE array."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import Out, connect, flipped

from hwroute.config import Config
from hwroute.rtl.array_layouts import Mode
from hwroute.rtl.attention_layouts import (
    batch_layout,
    source_count,
)
from hwroute.rtl.attention_ports import attention_members
from hwroute.rtl.column_ports import ColumnShape
from hwroute.rtl.softmax import RowExponentials
from hwroute.rtl.statistics_layouts import StatisticsReadPort
from hwroute.rtl.streams import Fork
from hwroute.rtl.values_front import ValuesFront
from hwroute.rtl.values_layouts import (
    BANKS,
    pass_layout,
    unit_bits,
    unit_table,
)
from hwroute.rtl.values_own import ValuesOwn
from hwroute.rtl.values_passes import ValuesPasses
from hwroute.rtl.values_plan import ValuesPlan
from hwroute.rtl.values_reader import ValuesReader
from hwroute.rtl.values_tiles import ValuesTiles
from hwroute.rtl.values_writer import ValuesWriter


class ValuesControl(wiring.Component):
    """Run values instructions on a PE array, as `hwroute.models.interpreter.array.Array` does.

    One instruction after the other, each in passes over the entries of the order
    (`hwroute.rtl.values_passes.ValuesPasses`). The next passes' entries are asked for while one
    runs. In the aligned variant the order of entries and the passes change no bit; in the
    overpacked one FP32 sums are added batch by batch, in the order of the batches.

    Parameters
    ----------
    config
        Sizes of array and memories; numerics.

    Members
    -------
    issue, done, list, read_x, read_y, write, ..., memory_error
        `hwroute.rtl.attention_ports.attention_members`; `read_x` of scores, `read_y` of the tile's
        own V.
    statistics
        `hwroute.rtl.statistics_layouts.StatisticsReadPort`.
    """

    def __init__(self, config: Config):
        if not isinstance(config, Config):
            raise TypeError(f"Sizes must be a Config, not {config!r}")
        self.config = config
        self.shape = ColumnShape.of(config)
        self.sources = source_count(config)
        super().__init__(attention_members(config) | {"statistics": Out(StatisticsReadPort())})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        config = self.config
        m.submodules.front = front = ValuesFront(config)
        m.submodules.passes = passes = ValuesPasses(config)
        m.submodules.plan = plan = ValuesPlan(config)
        m.submodules.own = own = ValuesOwn(config)
        m.submodules.reader = reader = ValuesReader(config)
        m.submodules.exponentials = exponentials = RowExponentials(
            1 << unit_bits(config), self.sources
        )
        m.submodules.writer = writer = ValuesWriter(config)
        m.submodules.tiles = tiles = ValuesTiles(config)
        parts = {"plan": plan, "own": own, "reader": reader, "tiles": tiles, "writer": writer}
        self._sequence(m, front, passes, parts)
        connect(m, flipped(self.issue), front.issue)
        connect(m, front.done, flipped(self.done))
        connect(m, front.list, flipped(self.list))
        connect(m, plan.statistics, flipped(self.statistics))
        connect(m, own.read, flipped(self.read_y))
        connect(m, own.exponents, plan.own)
        connect(m, reader.read, flipped(self.read_x))
        connect(m, reader.o, exponentials.i)
        connect(m, exponentials.o, writer.sums)
        connect(m, flipped(self.o), writer.rows)
        connect(m, writer.write, flipped(self.write))
        connect(m, writer.statistics, flipped(self.statistics_write))
        connect(m, passes.sweep, flipped(self.sweep))
        m.d.comb += [
            front.entries.eq(self.entries),
            front.vector_lines.eq(self.vector_lines),
            front.memory_error.eq(self.memory_error),
            front.row_index.eq(plan.row_index),
            plan.row.eq(front.row),
            *(part.job.eq(front.job) for part in (passes, plan, own, reader, tiles)),
            *(part.unit.eq(plan.o) for part in (reader, writer)),
        ]
        self._beats(m, exponentials.p, plan.o)
        self._feed(m, tiles, own, reader)
        return m

    def _sequence(self, m: Module, front: Any, passes: Any, parts: dict[str, Any]) -> None:
        """Find out the units of a pass while the one before runs."""
        plan, begin, current = parts["plan"], Signal(), passes.o.payload
        queues = {}
        for name in ("reader", "tiles"):
            m.submodules[f"{name}_passes"] = queue = SyncFIFO(
                width=pass_layout(self.config).size, depth=BANKS
            )
            queues[name], port = queue, parts[name].i
            m.d.comb += [
                queue.w_data.eq(current),
                port.valid.eq(queue.r_rdy),
                port.payload.eq(queue.r_data),
                queue.r_en.eq(port.ready),
            ]
        writer = parts["writer"]
        m.d.comb += [
            passes.start.eq(front.start),
            plan.start.eq(front.start),
            plan.begin.eq(begin),
            plan.i.eq(current),
            parts["own"].begin.eq(begin),
            parts["own"].i.eq(current),
            writer.i.payload.eq(current),
            # The writer has a bank free only when the others have.
            queues["tiles"].w_en.eq(begin),
            queues["reader"].w_en.eq(plan.done),
        ]
        with m.FSM():
            with m.State("NEXT"):
                m.d.comb += [
                    writer.i.valid.eq(passes.o.valid),
                    begin.eq(passes.o.valid & writer.i.ready),
                ]
                with m.If(begin):
                    m.next = "PLAN"
            with m.State("PLAN"):
                m.d.comb += passes.o.ready.eq(plan.done)
                with m.If(plan.done):
                    m.next = "NEXT"
                    with m.If(current.last):
                        m.next = "DRAIN"
            with m.State("DRAIN"):
                m.d.comb += front.ended.eq(writer.idle)
                with m.If(writer.idle):
                    m.next = "NEXT"

    def _beats(self, m: Module, p: Any, unit: Any) -> None:
        """Send the probabilities of a unit once for each part of the dimensions."""
        x, parts = self.x.payload, self.shape.parts
        at = unit_table(m, self.config, unit, ("reference", "ends"), p.payload.slot)
        part = Signal(self.shape.part_bits)
        last_part = part == parts - 1
        unit_in_array = p.payload.slot[:-1]
        slot = Cat(part, unit_in_array) if parts > 1 else unit_in_array
        lanes = Value.cast(p.payload.lanes)
        m.d.comb += [
            self.x.valid.eq(p.valid),
            p.ready.eq(self.x.ready & last_part),
            x.mode.eq(Mode.VALUES),
            Value.cast(x.lanes).eq(lanes),
            x.reference.eq(at.reference),
            x.part.eq(part),
            x.slot.eq(slot),
            x.first.eq(p.payload.first),
            x.last.eq(p.payload.last),
            x.hold.eq(~(at.ends & last_part)),
        ]
        with m.If(self.x.valid & self.x.ready):
            m.d.sync += part.eq(Mux(last_part, 0, part + 1))

    def _feed(self, m: Module, tiles: Any, own: Any, reader: Any) -> None:
        """Give batches to scores and tiles alike."""
        m.submodules.batches = fork = Fork(batch_layout(self.config))
        connect(m, flipped(self.batches), fork.i)
        connect(m, fork.o_0, reader.batches)
        connect(m, fork.o_1, tiles.batches)
        connect(m, own.lines, tiles.own)
        connect(m, tiles.kv, flipped(self.kv))
        for source in range(self.sources):
            name = f"lines_{source}"
            connect(m, flipped(getattr(self, name)), getattr(tiles, name))
        m.d.comb += [own.multiply.eq(tiles.multiply), own.of.eq(tiles.i.payload)]
