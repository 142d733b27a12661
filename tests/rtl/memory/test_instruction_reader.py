# amaranth: UnusedElaboratable=no
"""Words of a program come out of DDR, two a beat."""

from random import Random
from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hwroute import memory_timing
from hwroute.isa.fields import LINE_BYTES, WORD_BITS
from hwroute.rtl.axi import DDR_PORT
from hwroute.rtl.instruction_reader import InstructionReader
from hwroute.rtl.memory_reader import MemoryReader
from hwroute.sim.axi_model import AxiMemory, MemoryTiming

BYTES = 1 << 14
SIZE = WORD_BITS // 8
PROGRAM = 5
"""Line where the words begin."""
FIRST = PROGRAM * LINE_BYTES


class Memory(wiring.Component):
    """An instruction reader before the engine of a port."""

    def __init__(self, words: int = 16) -> None:
        self.words_under_way = words
        inner = InstructionReader(words).signature.members
        taken = {name: inner[name] for name in ("requests", "words", "forget", "program")}
        channels = {
            "ar": Out(stream.Signature(DDR_PORT.address)),
            "r": In(stream.Signature(DDR_PORT.read)),
        }
        super().__init__(taken | channels)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        words: Any = InstructionReader(self.words_under_way)
        reader: Any = MemoryReader(DDR_PORT, beats=BYTES // DDR_PORT.data_bytes)
        m.submodules.words, m.submodules.reader = words, reader
        connect(m, flipped(self.requests), words.requests)
        connect(m, words.words, flipped(self.words))
        connect(m, words.request, reader.request)
        connect(m, reader.o, words.beats)
        connect(m, reader.ar, flipped(self.ar))
        connect(m, flipped(self.r), reader.r)
        m.d.comb += [words.forget.eq(self.forget), words.program.eq(PROGRAM)]
        return m


def started(
    bench: Any, unit: Any, *, stall: float = 0.0, bad: range = range(0), **speed: Any
) -> Any:
    """Return a bench, its memory and what that holds."""
    content = bytearray(Random(1).randbytes(BYTES))
    memory = AxiMemory(unit, DDR_PORT, content, timing=MemoryTiming(stall=stall, **speed), bad=bad)
    one = bench(unit, stall=stall, seed=3)
    one.serve(memory, writes=False)
    return one, memory, content


def word(content: bytearray, index: int) -> int:
    """Return a word of the program, 0 behind the memory's end."""
    octets = content[FIRST + index * SIZE : FIRST + (index + 1) * SIZE]
    return int.from_bytes(octets, "little") if len(octets) == SIZE else 0


@pytest.mark.parametrize(("latency", "stall"), [(1, 0.0), (40, 0.0), (7, 0.5)])
def test_words_come_in_the_order_of_requests(bench: Any, latency: int, stall: float) -> None:
    unit: Any = Memory()
    one, memory, content = started(bench, unit, latency=latency, stall=stall)
    random = Random(2)
    indices = []
    for _ in range(20):
        start = random.randrange((BYTES - FIRST) // SIZE - 12)
        indices += [*range(start, start + random.randrange(1, 12))]
    # The same word again, and the two words of a beat the other way round.
    indices += [8, 8, 9, 8, 7, 6]
    one.feed(unit.requests, indices)
    found, _ = one.drain(unit.words, len(indices))
    one.run()
    assert found == [word(content, index) for index in indices]
    beats = [index // 2 for index in indices]
    asked = [beat for at, beat in enumerate(beats) if not at or beat != beats[at - 1]]
    size = DDR_PORT.data_bytes
    assert memory.bursts == [(FIRST + beat * size, 1) for beat in asked]


def test_a_word_that_cannot_be_read_is_0(bench: Any) -> None:
    unit: Any = Memory()
    bad = range(FIRST + 4 * SIZE, FIRST + 6 * SIZE)
    one, _, content = started(bench, unit, bad=bad)
    last = (BYTES - FIRST) // SIZE - 1
    indices = [3, 4, 5, 6, last, last + 1, last + 2, 0, (1 << 20) - 1, 1]
    one.feed(unit.requests, indices)
    found, _ = one.drain(unit.words, len(indices))
    one.run()
    assert found == [0 if index in (4, 5) else word(content, index) for index in indices]


def test_a_run_reads_what_the_host_wrote_before_it(bench: Any) -> None:
    unit: Any = Memory()
    one, _, content = started(bench, unit)
    found, _ = one.drain(unit.words, 2)
    early = word(content, 0), word(content, 2)

    async def host(context: Any) -> None:
        for index in (0, 1, 2):
            if index == 1:
                content[FIRST : FIRST + 2 * SIZE] = bytes(reversed(range(2 * SIZE)))
                context.set(unit.forget, 1)
                await context.tick()
                context.set(unit.forget, 0)
            context.set(unit.requests.payload, index)
            context.set(unit.requests.valid, 1)
            await context.tick().until(unit.requests.ready)
            context.set(unit.requests.valid, 0)
            for _ in range(20):
                await context.tick()

    one.simulator.add_testbench(host)
    one.run(drain=60)
    assert found == [early[0], word(content, 1), early[1]]
    assert word(content, 1) == int.from_bytes(bytes(reversed(range(SIZE))), "little")


def test_words_come_as_fast_as_they_are_on_their_way(bench: Any) -> None:
    latency, count = 20, 60
    port = memory_timing.MEMORY_REQUEST_CYCLES + latency + memory_timing.MEMORY_BEAT_CYCLES
    whole = port + memory_timing.INSTRUCTION_READ_CYCLES
    unit: Any = Memory(whole + 2)
    one, _, _ = started(bench, unit, latency=latency)
    asked = one.feed(unit.requests, range(count))
    _, given = one.drain(unit.words, count)
    one.run()
    assert given[0] - asked[0] == whole
    assert set(np.diff(given)) == {1}
