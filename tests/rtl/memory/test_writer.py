"""`MemoryWriter` writes the beats of each request, and answers when the memory has them."""

from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
import pytest

from hwroute import memory_timing
from hwroute.rtl.axi import DDR_PORT, HBM_PORT, AxiPort
from hwroute.rtl.memory_layouts import REQUEST, store_layout
from hwroute.rtl.memory_writer import MemoryWriter
from hwroute.sim.axi_model import AxiMemory, MemoryTiming

BYTES = 1 << 16
Ports = pytest.mark.parametrize("port", [HBM_PORT, DDR_PORT], ids=["hbm", "ddr"])
Request = tuple[int, int]


class WriteBench:
    """A writer in front of a memory, and what the memory must hold in the end."""

    def __init__(self, bench: Any, packed: Any, port: AxiPort, **options: Any):
        self.packed, self.port = packed, port
        self.beats = BYTES // port.data_bytes
        self.unit: Any = MemoryWriter(port, beats=self.beats)
        self.bad = options.pop("bad", range(0))
        speed = options.pop("timing", None)
        forget = self.unit.clear if options.pop("forget", False) else None
        self.bench = bench(self.unit, forget=forget, **options)
        self.content = bytearray(Random(4).randbytes(BYTES))
        self.expected = bytearray(self.content)
        self.memory = AxiMemory(self.unit, port, self.content, timing=speed, bad=self.bad)
        self.bench.serve(self.memory, reads=False)
        self.random = Random(5)

    def stores(self, requests: list[Request]) -> list[int]:
        """Return random beats for requests, and write those that must be written."""
        size = self.port.data_bytes
        layout = store_layout(self.port.words)
        beats = []
        for first, count in requests:
            # A request that leaves the memory gives all its beats too.
            for index in range(count):
                data, strobe = self.random.randbytes(size), self.random.getrandbits(size)
                if self.random.random() < 0.7:
                    strobe = (1 << size) - 1
                number = int.from_bytes(data, "little")
                beats.append(self.packed(layout, data=number, strobe=strobe))
                place = (first + index) * size
                if self.failing(first, count, place):
                    continue
                for byte in range(size):
                    if strobe >> byte & 1:
                        self.expected[place + byte] = data[byte]
        return beats

    def failing(self, first: int, count: int, place: int | None = None) -> bool:
        """Tell whether a request fails, or only the burst of it that holds a place."""
        size, burst = self.port.data_bytes, self.port.burst_beats
        if not count or first + count > self.beats:
            return True
        hit = [bad for bad in self.bad if first * size <= bad < (first + count) * size]
        return any(place is None or bad // (burst * size) == place // (burst * size) for bad in hit)

    def run(self, requests: list[Request], *, again: bool = False) -> tuple[Any, Any, Any]:
        """Feed requests and data; return the cycles of requests, data and answers."""
        words = [self.packed(REQUEST, first=first, count=count) for first, count in requests]
        asked = self.bench.feed(self.unit.request, words, again=again)
        given = self.bench.feed(self.unit.i, self.stores(requests), again=again)
        answers, answered = self.bench.drain(self.unit.answer, len(requests))
        self.bench.run()
        assert answers == [int(self.failing(first, count)) for first, count in requests]
        return asked, given, answered


def drawn(beats: int, count: int, seed: int) -> list[Request]:
    random = Random(seed)
    return [(random.randrange(beats), random.randrange(1, 40)) for _ in range(count)]


@Ports
@pytest.mark.parametrize(("latency", "stall"), [(1, 0.0), (60, 0.0), (1, 0.5), (30, 0.5)])
def test_the_memory_holds_what_was_written(
    bench: Any, packed: Callable[..., int], port: AxiPort, latency: int, stall: float
) -> None:
    speed = MemoryTiming(latency=latency, stall=stall, seed=5)
    one = WriteBench(bench, packed, port, timing=speed, stall=stall, seed=6)
    burst, page = port.burst_beats, 4096 // port.data_bytes
    requests = [
        (0, 1),
        (burst - 1, 2),
        (page - 3, page + 6),
        (one.beats - 1, 1),
        (one.beats - 1, 2),
    ]
    requests += [(9, 0), (one.beats, 5), (3, 4 * burst), *drawn(one.beats, 20, 7)]
    one.run(requests)
    assert one.content == one.expected
    assert len({one.failing(*request) for request in requests}) == 2


@Ports
def test_a_failed_burst_fails_its_request_only(
    bench: Any, packed: Callable[..., int], port: AxiPort
) -> None:
    size = port.data_bytes
    bad = range(20 * size, 21 * size, size)
    one = WriteBench(bench, packed, port, stall=0.3, seed=8, bad=bad)
    requests = [(0, 20), (2, 100), (21, 3), (20, 1), (0, 16)]
    one.run(requests)
    assert [one.failing(*request) for request in requests] == [False, True, False, True, False]
    assert one.content == one.expected


@Ports
def test_long_bursts_leave_no_bubble_and_latencies_are_as_stated(
    bench: Any, packed: Callable[..., int], port: AxiPort
) -> None:
    latency = 60
    one = WriteBench(bench, packed, port, timing=MemoryTiming(latency=latency))
    asked, given, answered = one.run([(0, 6 * port.burst_beats), (0, 200)])
    assert set(np.diff(given)) == {1}
    assert given[0] - asked[0] == memory_timing.MEMORY_STORE_CYCLES
    last = given[6 * port.burst_beats - 1]
    assert answered[0] - last == 1 + latency + memory_timing.MEMORY_ANSWER_CYCLES


@Ports
@pytest.mark.parametrize("after", [3, 5, 8, 20, 70, 150])
@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize("clear", [True, False], ids=["clear", "reset"])
def test_after_forgetting_the_next_run_is_clean(
    bench: Any, packed: Callable[..., int], port: AxiPort, after: int, stall: float, clear: bool
) -> None:
    speed = MemoryTiming(latency=40, stall=stall, seed=after)
    one = WriteBench(bench, packed, port, stall=stall, seed=11, timing=speed, forget=clear)
    old = [(0, 0), (3, 100), (one.beats, 9), (200, 30), (0, 200)]
    words = [packed(REQUEST, first=first, count=count) for first, count in old]
    # The data come late, so that some bursts wait for theirs, and never all.
    given = after // 2
    stores = one.stores(old[1:2])[:given]
    one.expected[:] = one.content
    one.bench.feed(one.unit.request, words)
    one.bench.feed(one.unit.i, stores)
    one.bench.tell_to_forget(after)
    requests = [(300 + 60 * n, count) for n, count in enumerate([1, 50, 7, 30])]
    one.run([*requests, (one.beats, 3)], again=True)
    # Whether what was given has been written is not known; nothing else of the old requests was.
    size = port.data_bytes
    for image in (one.content, one.expected):
        image[3 * size : (3 + given) * size] = bytes(given * size)
    assert one.content == one.expected
