# amaranth: UnusedElaboratable=no
"""`MemoryReader` gives the beats of each request, as fast as the memory does."""

from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
import pytest

from hwroute import memory_timing
from hwroute.rtl.axi import BURST_BYTES, DDR_PORT, HBM_PORT, AxiPort
from hwroute.rtl.bursts import BurstSplitter
from hwroute.rtl.memory_layouts import REQUEST, beat_layout
from hwroute.rtl.memory_reader import FIFO_BYTES, MemoryReader
from hwroute.sim.axi_model import AxiMemory, MemoryTiming

BYTES = 1 << 16
Ports = pytest.mark.parametrize("port", [HBM_PORT, DDR_PORT], ids=["hbm", "ddr"])
Request = tuple[int, int]


@pytest.fixture
def content() -> bytearray:
    return bytearray(Random(3).randbytes(BYTES))


def corners(beats: int, burst: int) -> list[Request]:
    """Return requests at the edges of bursts, of pages and of the memory, legal or not."""
    page = 4096 // BURST_BYTES * burst
    return [
        (0, 1),
        (burst - 1, 1),
        (burst - 1, 2),
        (1, burst),
        (page - 1, 2),
        (page - 3, page + 6),
        (0, page),
        (beats - 1, 1),
        (beats - 1, 2),
        (beats, 1),
        (5, 0),
        ((1 << 32) - 1, (1 << 24) - 1),
        (3, 4 * burst),
    ]


def drawn(beats: int, count: int, seed: int) -> list[Request]:
    random = Random(seed)
    return [(random.randrange(beats), random.randrange(1, 60)) for _ in range(count)]


class ReadBench:
    """A reader in front of a memory; every beat is compared with the memory's contents."""

    def __init__(self, bench: Any, packed: Any, port: AxiPort, content: bytearray, **options: Any):
        self.packed, self.port, self.content = packed, port, content
        self.beats = len(content) // port.data_bytes
        self.unit: Any = MemoryReader(port, beats=self.beats)
        bad = options.pop("bad", range(0))
        memory_timing = options.pop("timing", None)
        self.forget = options.pop("forget", False)
        forget = self.unit.clear if self.forget else None
        self.bench = bench(self.unit, forget=forget, **options)
        self.memory = AxiMemory(self.unit, port, content, timing=memory_timing, bad=bad)
        self.bench.serve(self.memory, writes=False)
        self.bad = bad

    def expected(self, requests: list[Request]) -> list[tuple[int, int, int | None]]:
        """Return last, error and data of every beat; no data where there is an error."""
        beats: list[tuple[int, int, int | None]] = []
        size = self.port.data_bytes
        for first, count in requests:
            if count == 0 or first + count > self.beats:
                beats.append((1, 1, None))
                continue
            for index in range(count):
                place = (first + index) * size
                error = place in self.bad
                data = int.from_bytes(self.content[place : place + size], "little")
                beats.append((int(index == count - 1), int(error), None if error else data))
        return beats

    def feed(self, requests: list[Request], *, again: bool = False) -> list[int]:
        words = [self.packed(REQUEST, first=first, count=count) for first, count in requests]
        cycles: list[int] = self.bench.feed(self.unit.request, words, again=again)
        return cycles

    def drain(self, requests: list[Request]) -> tuple[list[int], list[int]]:
        found: tuple[list[int], list[int]] = self.bench.drain(
            self.unit.o, len(self.expected(requests))
        )
        return found

    def compare(self, requests: list[Request], payloads: list[int]) -> None:
        layout = beat_layout(self.port.words)
        found = []
        for payload in payloads:
            last, error = (payload >> layout[name].offset & 1 for name in ("last", "error"))
            data = payload & ((1 << self.port.data_bits) - 1)
            found.append((last, error, None if error else data))
        assert found == self.expected(requests)


@Ports
@pytest.mark.parametrize(("latency", "stall"), [(1, 0.0), (60, 0.0), (1, 0.5), (30, 0.5)])
def test_every_beat_of_every_request_comes_in_order(
    bench: Any,
    packed: Callable[..., int],
    content: bytearray,
    port: AxiPort,
    latency: int,
    stall: float,
) -> None:
    speed = MemoryTiming(latency=latency, stall=stall, seed=5)
    one = ReadBench(bench, packed, port, content, stall=stall, seed=6, timing=speed)
    requests = corners(one.beats, port.burst_beats) + drawn(one.beats, 30, 7)
    one.feed(requests)
    payloads, _ = one.drain(requests)
    one.bench.run()
    one.compare(requests, payloads)
    legal = sum(count for first, count in requests if first + count <= one.beats)
    assert sum(count for _, count in one.memory.bursts) == legal
    assert max(count for _, count in one.memory.bursts) == port.burst_beats


@Ports
def test_errors_of_the_memory_are_told_with_the_beat(
    bench: Any, packed: Callable[..., int], content: bytearray, port: AxiPort
) -> None:
    size = port.data_bytes
    bad = range(20 * size, 23 * size, size)
    one = ReadBench(bench, packed, port, content, stall=0.3, seed=8, bad=bad)
    requests = [(0, 20), (18, 40), (23, 2), (20, 1)]
    one.feed(requests)
    payloads, _ = one.drain(requests)
    one.bench.run()
    assert sum(error for _, error, _ in one.expected(requests)) == 4
    one.compare(requests, payloads)


@Ports
def test_long_bursts_leave_no_bubble_and_latencies_are_as_stated(
    bench: Any, packed: Callable[..., int], content: bytearray, port: AxiPort
) -> None:
    latency = 60
    speed = MemoryTiming(latency=latency)
    one = ReadBench(bench, packed, port, content, timing=speed)
    requests = [(0, 10 * port.burst_beats), (0, 400)]
    asked = one.feed(requests)
    _, cycles = one.drain(requests)
    one.bench.run()
    assert set(np.diff(cycles)) == {1}
    first = memory_timing.MEMORY_REQUEST_CYCLES + latency + memory_timing.MEMORY_BEAT_CYCLES
    assert cycles[0] - asked[0] == first


def test_a_burst_is_split_off_every_cycle(bench: Any, packed: Callable[..., int]) -> None:
    unit: Any = BurstSplitter(DDR_PORT, beats=1 << 20)
    one = bench(unit)
    asked = one.feed(unit.i, [packed(REQUEST, first=7 * n, count=1) for n in range(40)])
    _, cycles = one.drain(unit.o, 40)
    one.run()
    assert cycles == [cycle + memory_timing.BURST_CYCLES for cycle in asked]
    assert set(np.diff(cycles)) == {1}


@Ports
def test_nothing_is_asked_for_that_has_no_room(
    bench: Any, packed: Callable[..., int], content: bytearray, port: AxiPort
) -> None:
    one = ReadBench(bench, packed, port, content)
    one.feed([(0, one.beats)])
    one.bench.drain(one.unit.o, 0, stall=1.0)
    one.bench.run(at_least=2000)
    assert len(one.memory.bursts) == FIFO_BYTES // BURST_BYTES >= 16


@Ports
@pytest.mark.parametrize("after", [3, 5, 8, 20, 70, 150])
@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize("clear", [True, False], ids=["clear", "reset"])
def test_after_forgetting_the_next_run_is_clean(
    bench: Any,
    packed: Callable[..., int],
    content: bytearray,
    port: AxiPort,
    after: int,
    stall: float,
    clear: bool,
) -> None:
    speed = MemoryTiming(latency=40, stall=stall, seed=after)
    options: dict[str, Any] = {"stall": stall, "seed": 11, "timing": speed, "forget": clear}
    one = ReadBench(bench, packed, port, content, **options)
    beats = one.beats
    requests = [*drawn(beats, 5, 12), (beats, 3)]
    one.feed([(beats, 1), (0, 0), (3, 100), (beats, 9), (0, 200)])
    one.feed(requests, again=True)
    payloads, _ = one.drain(requests)
    one.bench.tell_to_forget(after)
    one.bench.run()
    one.compare(requests, payloads)


def test_a_wrong_port_is_refused() -> None:
    with pytest.raises(ValueError, match="Data bits must be 64 times a power of two, not 96"):
        AxiPort(data_bits=96, length_bits=4)
    with pytest.raises(ValueError, match="Length bits must hold 2 to 16 beats, not 3"):
        AxiPort(data_bits=256, length_bits=3)


@pytest.mark.parametrize("beats", [0, (1 << 32) + 1])
def test_a_memory_of_wrong_size_is_refused(beats: int) -> None:
    with pytest.raises(ValueError, match=f"Beats must be from 1 to 4294967296, not {beats}"):
        BurstSplitter(HBM_PORT, beats=beats)
