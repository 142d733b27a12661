"""Write scores in the order of entries, and find the maximum of every pair."""

from functools import reduce
from operator import or_
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from hwroute.config import Config
from hwroute.isa.fields import LINE_ELEMENTS
from hwroute.rtl.array_layouts import o_payload
from hwroute.rtl.attention_layouts import batch_layout, entries_shape, source_count
from hwroute.rtl.float_convert import FloatToHalf
from hwroute.rtl.kv_layouts import bits
from hwroute.rtl.pipeline import advance, delay, register
from hwroute.rtl.scores_layouts import (
    PAIR_BITS,
    PAIRS,
    finished_layout,
    job_layout,
    pair_table,
    pair_write_layout,
)
from hwroute.rtl.scratchpad_layouts import LINE, LINE_NUMBER_BITS, WritePort
from hwroute.rtl.softmax import MAXIMUM_SHAPE, RowMaximum
from hwroute.timing import FLOAT_TO_HALF_CYCLES, MAXIMUM_CYCLES

PLACE_BITS = bits(LINE_ELEMENTS)
ROTATE_CYCLES = 2
LINE_CYCLES = FLOAT_TO_HALF_CYCLES + 1 + ROTATE_CYCLES


class ScoresWriter(wiring.Component):
    """Convert rows of the array to FP16 and write them. A row a cycle, two where it straddles.

    FP16 is rounded once, as the configuration says, and saturates. Zeros fill the line behind the
    last entry. Stages: (1, 2) convert; (3) order of entries; (4, 5) rotate to the place in the
    line; then the register of the write.

    Parameters
    ----------
    config
        Of array and memories; rounding.

    Members
    -------
    job
        `hwroute.rtl.scores_layouts.job_layout`, stable.
    begin
        The pass begins.
    pair
        `hwroute.rtl.scores_layouts.pair_write_layout`.
    batches
        Stream of `hwroute.rtl.attention_layouts.batch_layout`, those with entries.
    i
        Stream of `hwroute.rtl.scores_layouts.finished_layout`.
    rows
        Stream of `hwroute.rtl.array_layouts.o_payload`.
    write
        `hwroute.rtl.scratchpad_layouts.WritePort`.
    read, maximum
        Number of a pair, and the maximum of its scores, rounded up.
    idle
        All rows are written.
    overflow
        A score that its row attends to has saturated.
    """

    def __init__(self, config: Config):
        self.config = config
        self.sources = source_count(config)
        super().__init__(
            {
                "job": In(job_layout(config)),
                "begin": In(1),
                "pair": In(pair_write_layout(config)),
                "batches": In(stream.Signature(batch_layout(config))),
                "i": In(stream.Signature(finished_layout())),
                "rows": In(stream.Signature(o_payload(config))),
                "write": Out(WritePort()),
                "read": In(PAIR_BITS),
                "maximum": Out(MAXIMUM_SHAPE),
                "idle": Out(1),
                "overflow": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        row, batch = self.i.payload, self.batches
        taken, done = (stream.Signature(1).create(path=(name,)) for name in ("taken", "done"))
        fires, element = Signal(), Signal(entries_shape(self.config))
        en, valid = advance(m, taken, done, LINE_CYCLES)
        m.d.comb += [
            taken.valid.eq(self.i.valid & self.rows.valid & (row.own | batch.valid)),
            fires.eq(taken.valid & taken.ready),
            self.i.ready.eq(fires),
            self.rows.ready.eq(fires),
            batch.ready.eq(fires & row.ends & ~row.own),
        ]
        with m.If(self.begin):
            m.d.sync += element.eq(0)
        with m.Elif(batch.ready):
            m.d.sync += element.eq(element + batch.payload.count)
        halves, visible = self._convert(m, en, valid)
        self._find_maximum(m, en & valid[FLOAT_TO_HALF_CYCLES - 1], en, halves, visible)
        table = pair_table(m, self.pair, ("out",), row.pair)
        meta = {
            "line": (table.out + (element >> PLACE_BITS))[:LINE_NUMBER_BITS],
            "place": element[:PLACE_BITS],
            "count": Mux(row.own, 1, batch.payload.count),
            "final": row.final,
        }
        late = {name: delay(m, en, value, LINE_CYCLES, name) for name, value in meta.items()}
        line = self._arrange(m, en, halves, meta["place"])
        self._write(m, done, late, line)
        busy = Cat(valid.any(), self.write.request.valid, self.finding)
        m.d.comb += self.idle.eq(~busy.any())
        return m

    def _convert(self, m: Module, en: Value, valid: Value) -> tuple[list[Value], list[Value]]:
        """Return scores, and whether each counts, after FLOAT_TO_HALF_CYCLES."""
        row, cycles = self.i.payload, FLOAT_TO_HALF_CYCLES
        table = pair_table(m, self.pair, ("token",), row.pair)
        halves, visible, saturated = [], [], []
        for source in range(self.sources):
            m.submodules[f"half_{source}"] = half = FloatToHalf(self.config.numerics.rounding)
            entry = self.batches.payload.sources[source]
            seen = Mux(row.own, source == 0, entry.valid & (entry.token <= table.token))
            seen = delay(m, en, seen, cycles, f"seen_{source}")
            m.d.comb += [half.en.eq(en), half.a.eq(self.rows.payload.columns[source])]
            halves.append(half.o)
            visible.append(seen)
            saturated.append(seen & half.saturated)
        m.d.sync += self.overflow.eq(en & valid[cycles - 1] & Cat(saturated).any())
        return halves, visible

    def _find_maximum(
        self, m: Module, valid: Value, en: Value, halves: list[Value], visible: list[Value]
    ) -> None:
        """Keep the largest maximum of every pair; nothing holds this up."""
        m.submodules.row_maximum = found = RowMaximum()
        row = self.i.payload
        i = found.i.payload
        m.d.comb += [
            found.i.valid.eq(valid),
            i.first.eq(1),
            i.last.eq(1),
            i.mask.eq(Cat(visible)),
            found.o.ready.eq(1),
            *(i.scores[source].eq(half) for source, half in enumerate(halves)),
        ]
        names = Cat(row.pair, row.fresh)
        late = delay(m, en, names, FLOAT_TO_HALF_CYCLES, "pair_of_row")
        late = delay(m, 1, late, MAXIMUM_CYCLES, "pair_of_maximum")
        pair, fresh = late[:PAIR_BITS], late[PAIR_BITS]
        underway = Signal(MAXIMUM_CYCLES)
        m.d.sync += underway.eq(Cat(valid, underway[:-1]))
        self.finding = underway.any()
        table = memory.Memory(shape=MAXIMUM_SHAPE, depth=PAIRS, init=[])
        m.submodules.maxima = table
        write = table.write_port()
        old, read = table.read_port(domain="comb"), table.read_port(domain="comb")
        keeps = ~fresh & (old.data > found.o.payload)
        m.d.comb += [
            old.addr.eq(pair),
            write.addr.eq(pair),
            write.en.eq(found.o.valid),
            write.data.eq(Mux(keeps, old.data, found.o.payload)),
            read.addr.eq(self.read),
            self.maximum.eq(read.data),
        ]

    def _arrange(self, m: Module, en: Value, halves: list[Value], place: Value) -> Value:
        """Return the scores in the order of entries, at their place in a line."""
        row, cycles = self.i.payload, FLOAT_TO_HALF_CYCLES
        present, indices = [], []
        for source in range(self.sources):
            entry = self.batches.payload.sources[source]
            valid = Mux(row.own, source == 0, entry.valid)
            index = Mux(row.own, 0, entry.index)
            present.append(delay(m, en, valid, cycles, f"present_{source}"))
            indices.append(delay(m, en, index, cycles, f"index_{source}"))
        ordered = [
            reduce(
                or_,
                (
                    Mux(present[source] & (indices[source] == at), halves[source], 0)
                    for source in range(self.sources)
                ),
            )
            for at in range(self.sources)
        ]
        line = Signal(LINE.size)
        m.d.comb += line.eq(register(m, en, Cat(ordered), "ordered"))
        half = PLACE_BITS // 2
        low = delay(m, en, place, cycles + 1, "place_low")
        high = register(m, en, low[half:], "place_high")
        turned = register(m, en, _rotate(line, low[:half], 0), "turned_low")
        return register(m, en, _rotate(turned, high, half), "turned")

    def _write(self, m: Module, done: Any, late: dict[str, Value], line: Value) -> None:
        """Write what is in the first line, then what is in the next, zeros behind the last."""
        request, second, two = self.write.request, Signal(), Signal()
        o, place, final = request.payload, late["place"], late["final"]
        end = Signal(PLACE_BITS + 2)
        free = ~request.valid | request.ready
        m.d.comb += [
            end.eq(place + late["count"]),
            two.eq(end > LINE_ELEMENTS),
            done.ready.eq(free & (second | ~two)),
        ]
        with m.If(free):
            m.d.sync += [
                request.valid.eq(done.valid),
                second.eq(done.valid & two & ~second),
                o.line.eq(late["line"] + second),
            ]
            for lane in range(LINE_ELEMENTS):
                in_first = (place <= lane) & ((end > lane) | final)
                in_second = (end > LINE_ELEMENTS + lane) | final
                score = line.word_select(lane, 16)
                m.d.sync += [
                    o.mask[lane].eq(Mux(second, in_second, in_first)),
                    o.data[lane].eq(Mux(second & (place <= lane), 0, score)),
                ]


def _rotate(line: Value, places: Value, low: int) -> Value:
    """Rotate the elements of a line upwards by ``places << low``."""
    for bit in range(len(places)):
        line = Mux(places[bit], line.rotate_left(16 << low + bit), line)
    return line
