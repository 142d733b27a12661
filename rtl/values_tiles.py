"""Send the lines of V of a pass's batches as tiles."""

from typing import Any

from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hwroute.config import Config
from hwroute.rtl.attention_layouts import batch_layout, source_count
from hwroute.rtl.column_ports import ColumnShape
from hwroute.rtl.kernel_loader import kernel_payload
from hwroute.rtl.kv_layouts import bits
from hwroute.rtl.scratchpad_layouts import LINE
from hwroute.rtl.values_layouts import job_layout, pass_layout


class ValuesTiles(wiring.Component):
    """Make tiles of the lines that sources bring: of each batch one for each line of V of the pass.

    Source s fills lane s; the own entry, alone in the last batch, lane 0. A beat a cycle, and no
    beat behind the last source of the batch.

    Parameters
    ----------
    config
        Of array and memories.

    Members
    -------
    job
        `hwroute.rtl.values_layouts.job_layout`, stable.
    i
        Stream of `hwroute.rtl.values_layouts.pass_layout`.
    multiply
        The own lines of the pass are wanted.
    batches
        Stream of `hwroute.rtl.attention_layouts.batch_layout`.
    lines_0, lines_1, ...
        Streams of lines of each source.
    own
        Stream of lines.
    kv
        Stream of `hwroute.rtl.kernel_loader.kernel_payload`.
    """

    def __init__(self, config: Config):
        self.shape = ColumnShape.of(config)
        self.sources = source_count(config)
        super().__init__(
            {
                "job": In(job_layout(config)),
                "i": In(stream.Signature(pass_layout(config))),
                "multiply": Out(1),
                "batches": In(stream.Signature(batch_layout(config))),
                **{f"lines_{source}": In(stream.Signature(LINE)) for source in range(self.sources)},
                "own": In(stream.Signature(LINE)),
                "kv": Out(stream.Signature(kernel_payload(self.shape))),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        vectors, batch = self.shape.vectors, self.batches.payload
        groups = -(-self.sources // vectors)
        own, line = Signal(), Signal.like(self.i.payload.lines)
        group = Signal(bits(groups))
        lines = [getattr(self, f"lines_{source}") for source in range(self.sources)]
        valid = [batch.sources[source].valid for source in range(self.sources)]
        members = [
            range(at * vectors, min((at + 1) * vectors, self.sources)) for at in range(groups)
        ]
        complete = Array(
            Cat(lines[source].valid | ~valid[source] for source in sources).all()
            for sources in members
        )
        more = Array(Cat(valid[sources.stop :]).any() for sources in members)
        beat, moves, tile_ends, ends = self.kv, Signal(), Signal(), Signal()
        free = ~beat.valid | beat.ready
        has = self.i.valid & Mux(own, self.own.valid, self.batches.valid & complete[group])
        counts = batch.count.any()
        m.d.comb += [
            moves.eq(has & free & (own | counts)),
            tile_ends.eq(moves & (own | ~more[group])),
            ends.eq(tile_ends & (line == self.i.payload.lines - 1)),
            self.own.ready.eq(moves & own),
            self.batches.ready.eq(self.i.valid & ~own & (ends | ~counts)),
        ]
        for at, sources in enumerate(members):
            for source in sources:
                taken = moves & ~own & (group == at) & valid[source]
                m.d.comb += lines[source].ready.eq(taken)
        with m.If(free):
            m.d.sync += [beat.valid.eq(moves), beat.payload.values.eq(1)]
            m.d.sync += beat.payload.last.eq(tile_ends)
            for vector in range(min(vectors, self.sources)):
                choice: list[Value] = [
                    Value.cast(lines[sources[vector]].payload)
                    for sources in members
                    if vector < len(sources)
                ]
                chosen = Array(choice)[group] if len(choice) > 1 else choice[0]
                if vector == 0:
                    chosen = Mux(own, Value.cast(self.own.payload), chosen)
                m.d.sync += Value.cast(beat.payload.vectors[vector]).eq(chosen)
        with m.If(moves):
            m.d.sync += [
                group.eq(Mux(tile_ends, 0, group + 1)),
                line.eq(Mux(ends, 0, line + tile_ends)),
            ]
        last = self.batches.valid & self.batches.ready & batch.last
        m.d.comb += [
            self.multiply.eq(last & self.job.own),
            self.i.ready.eq(Mux(own, ends, last & ~self.job.own)),
        ]
        with m.If(last):
            m.d.sync += own.eq(self.job.own)
        with m.Elif(ends):
            m.d.sync += own.eq(0)
        return m
