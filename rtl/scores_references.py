"""Find the largest exponents of the values that each row attends to."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from hwroute.config import Config
from hwroute.rtl.aligner import largest
from hwroute.rtl.attention_layouts import (
    EXPONENT_BITS,
    VECTOR_LINE_BITS,
    batch_layout,
    source_count,
)
from hwroute.rtl.kv_layouts import bits
from hwroute.rtl.pipeline import delay, register
from hwroute.rtl.scores_layouts import (
    PAIR_BITS,
    PAIRS,
    job_layout,
    pair_table,
    pair_write_layout,
)

LARGEST_CYCLES = 3


class ScoresReferences(wiring.Component):
    """Keep the largest exponent of every line of V and row, batch by batch. One a cycle.

    Parameters
    ----------
    config
        Of array and memories.

    Members
    -------
    job
        `hwroute.rtl.scores_layouts.job_layout`, stable.
    begin, rows
        The pass begins; how many rows it has, stable.
    pair
        `hwroute.rtl.scores_layouts.pair_write_layout`.
    batches
        Stream of `hwroute.rtl.attention_layouts.batch_layout`, those with entries.
    exponents_0, exponents_1, ...
        Streams of exponents of each source.
    read, reference
        Line of V and row as a pair, and its reference.
    idle
        All exponents of the pass have been looked at.
    """

    def __init__(self, config: Config):
        self.config = config
        self.sources = source_count(config)
        exponents = stream.Signature(EXPONENT_BITS)
        super().__init__(
            {
                "job": In(job_layout(config)),
                "begin": In(1),
                "rows": In(range(config.array.accumulator_rows + 1)),
                "pair": In(pair_write_layout(config)),
                "batches": In(stream.Signature(batch_layout(config))),
                **{f"exponents_{source}": In(exponents) for source in range(self.sources)},
                "read": In(PAIR_BITS),
                "reference": Out(EXPONENT_BITS),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        ports = [getattr(self, f"exponents_{source}") for source in range(self.sources)]
        batch = self.batches.payload
        active, fresh = Signal(), Signal()
        index, line = Signal(PAIR_BITS), Signal(VECTOR_LINE_BITS)
        row = Signal(bits(self.config.array.accumulator_rows))
        table = pair_table(m, self.pair, ("token",), row)
        valid = [batch.sources[source].valid for source in range(self.sources)]
        there = Cat(port.valid | ~one for port, one in zip(ports, valid, strict=True)).all()
        looks, last_row, ends = Signal(), Signal(), Signal()
        m.d.comb += [
            looks.eq(active & self.batches.valid & there),
            last_row.eq(row == self.rows - 1),
            ends.eq(looks & last_row & (line == self.job.lines - 1)),
            self.batches.ready.eq(ends),
            *(
                port.ready.eq(looks & last_row & one)
                for port, one in zip(ports, valid, strict=True)
            ),
        ]
        with m.If(self.begin):
            m.d.sync += [active.eq(self.job.entries.any()), fresh.eq(1)]
            m.d.sync += [index.eq(0), line.eq(0), row.eq(0)]
        with m.Elif(looks):
            m.d.sync += [
                index.eq(Mux(ends, 0, index + 1)),
                row.eq(Mux(last_row, 0, row + 1)),
                line.eq(Mux(ends, 0, line + last_row)),
            ]
            with m.If(ends):
                m.d.sync += [fresh.eq(0), active.eq(~batch.last)]
        seen = [
            Mux(one & (batch.sources[source].token <= table.token), ports[source].payload, 0)
            for source, one in enumerate(valid)
        ]
        self._keep(m, looks, Cat(index, fresh), seen)
        m.d.comb += self.idle.eq(~(active | self.looking))
        return m

    def _keep(self, m: Module, looks: Any, at: Any, seen: list[Any]) -> None:
        """Find the largest of the exponents and put it to the earlier ones."""
        exponents = [register(m, 1, one, f"seen_{source}") for source, one in enumerate(seen)]
        groups = [
            register(m, 1, largest(exponents[start : start + 8]), f"largest_{start}")
            for start in range(0, self.sources, 8)
        ]
        found = register(m, 1, largest(groups), "largest")
        underway = Signal(LARGEST_CYCLES)
        m.d.sync += underway.eq(Cat(looks, underway[:-1]))
        self.looking = underway.any()
        late = delay(m, 1, at, LARGEST_CYCLES, "at")
        index, fresh = late[:PAIR_BITS], late[PAIR_BITS]
        table = memory.Memory(shape=EXPONENT_BITS, depth=PAIRS, init=[])
        m.submodules.table = table
        write = table.write_port()
        old, read = table.read_port(domain="comb"), table.read_port(domain="comb")
        keeps = ~fresh & (old.data > found)
        m.d.comb += [
            old.addr.eq(index),
            write.addr.eq(index),
            write.en.eq(underway[-1]),
            write.data.eq(Mux(keeps, old.data, found)),
            read.addr.eq(self.read),
            self.reference.eq(Mux(self.job.entries.any(), read.data, 0)),
        ]
