"""The statistics memory: sums of squares, logits, maxima and sums of a tile's rows."""

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hwroute.isa.parts import PITCH
from hwroute.memory_config import MemoryConfig
from hwroute.rtl.select import in_turn
from hwroute.rtl.statistics_layouts import (
    VALUES_BITS,
    VECTOR,
    WORD_NUMBER,
    WORD_NUMBER_BITS,
    StatisticsReadPort,
    StatisticsWritePort,
)

READERS = ("npe", "array", "router")
"""Read ports of the machine, by unit."""
WRITERS = ("npe", "array")
"""Write ports of the machine, by unit."""


class VectorWalk(wiring.Component):
    """Go through the words of vectors. Latency 1 cycle, a word a cycle, no gap between vectors.

    Members
    -------
    i
        Stream of `hwroute.rtl.statistics_layouts.VECTOR`.
    o
        Stream of `hwroute.rtl.statistics_layouts.WORD_NUMBER`.
    """

    def __init__(self) -> None:
        super().__init__(
            {"i": In(stream.Signature(VECTOR)), "o": Out(stream.Signature(WORD_NUMBER))}
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        word, pitch = Signal(WORD_NUMBER_BITS), Signal(PITCH.bits)
        left = Signal(VALUES_BITS)
        m.d.comb += [
            self.o.valid.eq(left.any()),
            self.o.payload.word.eq(word),
            self.o.payload.last.eq(left == 1),
            self.i.ready.eq(~left.any() | (self.o.ready & self.o.payload.last)),
        ]
        with m.If(self.i.ready):
            m.d.sync += [
                word.eq(self.i.payload.first),
                pitch.eq(self.i.payload.pitch),
                left.eq(Mux(self.i.valid, self.i.payload.values, 0)),
            ]
        with m.Elif(self.o.ready):
            m.d.sync += [word.eq(word + pitch), left.eq(left - 1)]
        return m


class StatisticsMemory(wiring.Component):
    """Serve every port a word a cycle; writers take turns.

    Latency of a read: `hwroute.timing.STATISTICS_READ_CYCLES` from the request to its first word. A
    request reads what values accepted in its cycle or before have written.

    A word beyond the end sets the port's bit of ``read_errors`` or ``write_errors`` for the next
    cycle; a read gives 0, a value is dropped.

    Parameters
    ----------
    sizes
        Of the memory.
    readers, writers
        Names of the ports.

    Members
    -------
    read_(each of `readers`)
        `hwroute.rtl.statistics_layouts.StatisticsReadPort`.
    write_(each of `writers`)
        `hwroute.rtl.statistics_layouts.StatisticsWritePort`.
    read_errors, write_errors
        ``Out``, one bit for each port in order.
    """

    def __init__(
        self,
        sizes: MemoryConfig,
        *,
        readers: Sequence[str] = READERS,
        writers: Sequence[str] = WRITERS,
    ):
        if not isinstance(sizes, MemoryConfig):
            raise TypeError(f"Sizes must be a MemoryConfig, not {sizes!r}")
        self.words = sizes.statistics
        self.readers = tuple(readers)
        self.writers = tuple(writers)
        reads = {f"read_{name}": In(StatisticsReadPort()) for name in readers}
        writes = {f"write_{name}": In(StatisticsWritePort()) for name in writers}
        errors = {"read_errors": Out(len(readers)), "write_errors": Out(len(writers))}
        super().__init__(reads | writes | errors)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.words = words = memory.Memory(shape=32, depth=self.words, init=[])
        for index, name in enumerate(self.readers):
            port = getattr(self, f"read_{name}")
            m.submodules[f"read_{name}_walk"] = walk = VectorWalk()
            connect(m, flipped(port.request), walk.i)
            self._read(m, walk.o, words.read_port(), port.response, self.read_errors[index])
        self._write(m, words.write_port())
        return m

    def _read(self, m: Module, words: Any, table: Any, response: Any, error: Value) -> None:
        """Read words; the memory's output register holds one until it is taken."""
        free = ~response.valid | response.ready
        inside, was_inside, last = words.payload.word < self.words, Signal(), Signal()
        m.d.comb += [
            words.ready.eq(free),
            table.en.eq(free),
            table.addr.eq(words.payload.word),
            response.payload.value.eq(Mux(was_inside, table.data, 0)),
            response.payload.last.eq(last),
        ]
        m.d.sync += error.eq(free & words.valid & ~inside)
        with m.If(free):
            m.d.sync += [
                response.valid.eq(words.valid),
                was_inside.eq(inside),
                last.eq(words.payload.last),
            ]

    def _write(self, m: Module, table: Any) -> None:
        """Let the writers write in turn."""
        wanted = Signal(len(self.writers))
        grant = in_turn(m, wanted, "write")
        m.d.comb += table.en.eq(grant.any())
        for index, name in enumerate(self.writers):
            port = getattr(self, f"write_{name}")
            m.submodules[f"write_{name}_walk"] = walk = VectorWalk()
            connect(m, flipped(port.request), walk.i)
            both = walk.o.valid & port.values.valid
            inside = walk.o.payload.word < self.words
            taken = grant[index] | (walk.o.valid & ~inside)
            m.d.comb += [
                wanted[index].eq(both & inside),
                walk.o.ready.eq(port.values.valid & taken),
                port.values.ready.eq(taken),
            ]
            m.d.sync += self.write_errors[index].eq(both & ~inside)
            with m.If(grant[index]):
                m.d.comb += [
                    table.addr.eq(walk.o.payload.word),
                    table.data.eq(port.values.payload),
                ]
