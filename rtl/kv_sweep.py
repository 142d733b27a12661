"""The sweeps of the KV unit: K and V of every entry of an order, line by line, for the array."""

from typing import Any

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hwroute.config import Config
from hwroute.rtl.attention_layouts import (
    EXPONENT_BITS,
    SWEEP,
    VECTOR_LINE_BITS,
    batch_layout,
    source_count,
)
from hwroute.rtl.axi import HBM_PORT
from hwroute.rtl.kv_batches import KVBatches
from hwroute.rtl.kv_buffer import KVHistoryBuffer
from hwroute.rtl.kv_layouts import order_layout
from hwroute.rtl.kv_map import BASE_BITS, EXPONENT_BEAT_BITS, LINE_HBM_BEATS, VECTOR_BEAT_BITS
from hwroute.rtl.kv_port_reader import KVPortReader
from hwroute.rtl.kv_source import KVSource
from hwroute.rtl.kv_walk import KVWalk
from hwroute.rtl.scratchpad_layouts import LINE

EVENTS = data.StructLayout({"kv_buffer_entries": 6, "kv_hbm_entries": 6})
"""What to add to the counters of these names (`hwroute.csr`)."""


class KVSweep(wiring.Component):
    """Keep an order, and bring what sweeps over it ask for, from HBM and the history buffer.

    Every source works on its own, `hwroute.timing.KV_READ_AHEAD_ENTRIES` entries ahead of the
    slowest at most and into the next sweeps; each moves a beat a cycle, and an entry a cycle is
    handed out, but for `KV_SWEEP_CYCLES` between two sweeps. `KV_REQUEST_CYCLES`, `KV_LINE_CYCLES`
    and `KV_EXPONENT_CYCLES` are the latencies. Lines of a batch may be offered before it is.

    Who takes batch after batch, of each line after line from all its sources, and a source's
    exponents before the lines of its second entry after them, never waits for ever.

    Parameters
    ----------
    config
        Sources, tokens, beats.

    Members
    -------
    clear : ``In(1)``, forget the order; no sweep is under way
    order
        Stream of `hwroute.rtl.kv_layouts.order_layout`, taken when no sweep is being walked.
    ordered : ``Out(1)``, pulse: the order is stored
    entries, vector_lines : ``Out``, of the order; lines of a K or V vector
    base, vector, exponents : ``In``, beats of HBM as kv.map has them; stable while there is an
        order; a vector is whole lines and fits in `KVConfig.entry_beats`, the exponents are one
        byte for each line
    sweep, batches
        Streams of `SWEEP` and `hwroute.rtl.attention_layouts.batch_layout`.
    lines_0, ..., exponents_0, ...
        Streams of `LINE` and of exponents of V (K sweeps only), for each source.
    read_0, beats_0, ...
        Streams of requests and beats for each HBM port, as `hwroute.rtl.hbm_port` has them.
    events : ``Out``, `EVENTS` of the cycle: entries of K sweeps
    error : ``Out(1)``, pulse: a beat that was read has an error

    Raises
    ------
    InputError
        The width of a beat is not that of one or two beats of HBM, or sources are more than
        columns.
    """

    def __init__(self, config: Config):
        self.config = config
        self.sources = source_count(config)
        members: dict[str, Any] = {
            "clear": In(1),
            "order": In(stream.Signature(order_layout(config.kv))),
            "ordered": Out(1),
            "entries": Out(range(config.kv.max_tokens + 1)),
            "vector_lines": Out(VECTOR_LINE_BITS),
            "base": In(BASE_BITS),
            "vector": In(VECTOR_BEAT_BITS),
            "exponents": In(EXPONENT_BEAT_BITS),
            "sweep": In(stream.Signature(SWEEP)),
            "batches": Out(stream.Signature(batch_layout(config))),
            "events": Out(EVENTS),
            "error": Out(1),
        }
        for source in range(self.sources):
            members[f"lines_{source}"] = Out(stream.Signature(LINE))
            members[f"exponents_{source}"] = Out(stream.Signature(EXPONENT_BITS))
        self._readers = [KVPortReader(config.kv) for _ in range(config.kv.hbm_ports)]
        for port, reader in enumerate(self._readers):
            for name in ("read", "beats"):
                members[f"{name}_{port}"] = reader.signature.members[name]
        super().__init__(members)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.walk = walk = KVWalk(self.config)
        m.submodules.batches = batches = KVBatches(self.config)
        m.submodules.buffer = buffer = KVHistoryBuffer(self.config.kv)
        sources = [KVSource(self.config.kv) for _ in range(self.sources)]
        for name in ("order", "sweep"):
            connect(m, flipped(getattr(self, name)), getattr(walk, name))
        connect(m, batches.o, flipped(self.batches))
        for name in ("clear", "base", "vector", "exponents"):
            m.d.comb += getattr(walk, name).eq(getattr(self, name))
        m.d.comb += [
            self.ordered.eq(walk.ordered),
            self.entries.eq(walk.entries),
            self.vector_lines.eq(self.vector // LINE_HBM_BEATS),
            self.error.eq(Cat(reader.error for reader in self._readers).any()),
        ]
        self._hand_out(m, walk, batches, buffer, sources)
        self._connect_ports(m, buffer)
        self._connect_sources(m, buffer, sources)
        return m

    def _hand_out(
        self, m: Module, walk: Any, batches: Any, buffer: Any, sources: list[KVSource]
    ) -> None:
        """Give an entry to all that have a part in it, when all have room."""
        step, parts = walk.o.payload, [batches, *self._readers, *sources]
        entry, room, taken, fetched = step.buffer.entry, Signal(), Signal(), Signal()
        brought = Signal()
        m.d.comb += [
            room.eq(Cat(part.room for part in parts).all()),
            walk.o.ready.eq(room & buffer.i.ready),
            buffer.i.valid.eq(walk.o.valid & room),
            buffer.i.payload.eq(step.buffer),
            taken.eq(walk.o.valid & walk.o.ready),
            brought.eq(taken & ~entry.end),
            fetched.eq(brought & ~entry.hit),
            batches.push.eq(taken),
            batches.end.eq(entry.end),
            batches.first.eq(entry.first),
            batches.source.eq(step.source),
            batches.token.eq(entry.token),
        ]
        for port, reader in enumerate(self._readers):
            m.d.comb += [
                reader.push.eq(fetched & (entry.port == port)),
                reader.entry.eq(step.request),
            ]
        for number, source in enumerate(sources):
            m.d.comb += [
                source.push.eq(brought & (step.source == number)),
                source.entry.eq(step.lines),
            ]
        m.d.sync += [
            self.events.kv_buffer_entries.eq(brought & entry.hit & ~step.buffer.value),
            self.events.kv_hbm_entries.eq(fetched & ~step.buffer.value),
        ]

    def _connect_ports(self, m: Module, buffer: Any) -> None:
        """Connect the readers of the HBM ports."""
        for port, reader in enumerate(self._readers):
            m.submodules[f"reader_{port}"] = reader
            m.d.comb += reader.exponents.eq(self.exponents)
            connect(m, reader.read, flipped(getattr(self, f"read_{port}")))
            connect(m, flipped(getattr(self, f"beats_{port}")), reader.beats)
            connect(m, reader.o, getattr(buffer, f"hbm_{port}"))

    def _connect_sources(self, m: Module, buffer: Any, sources: list[KVSource]) -> None:
        """Connect banks and ports to what makes lines of their beats."""
        banks = self.config.kv.buffer_banks
        for number, source in enumerate(sources):
            m.submodules[f"source_{number}"] = source
            name = f"bank_{number}" if number < banks else f"port_{number - banks}"
            connect(m, getattr(buffer, name), source.i)
            connect(m, source.lines, flipped(getattr(self, f"lines_{number}")))
            connect(m, source.exponents_o, flipped(getattr(self, f"exponents_{number}")))
            exponents = self.exponents
            if self.config.kv.beat_bits > HBM_PORT.data_bits:
                exponents = (self.exponents + 1) >> 1
            m.d.comb += [
                source.vector_lines.eq(self.vector_lines),
                source.exponents.eq(exponents),
            ]
