# amaranth: UnusedElaboratable=no
"""`HBMPort` carries requests and beats across clock domains, and survives resets."""

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import numpy as np
import pytest

from hwroute import memory_timing
from hwroute.config import PRESETS, Config
from hwroute.errors import InputError
from hwroute.rtl.axi import HBM_PORT
from hwroute.rtl.emit import emit
from hwroute.rtl.hbm_port import RESET_CYCLES, HBMPort
from hwroute.rtl.memory_layouts import REQUEST
from hwroute.sim.axi_model import AxiMemory, MemoryTiming

BYTES = 1 << 15
SIZE = HBM_PORT.data_bytes
BEATS = BYTES // SIZE
CLOCKS = {
    "2:1": {"sync": (4, 1), "memory": (2, 1)},
    "1:1": {"sync": (2, 1), "memory": (2, 1)},
    "1:1 shifted": {"sync": (2, 1), "memory": (2, 1.5)},
    "7:3": {"sync": (7, 1), "memory": (3, 2)},
}
Clocks = pytest.mark.parametrize("clocks", CLOCKS)
Widths = pytest.mark.parametrize("beat_bits", [256, 512])
Request = tuple[int, int]


def config_of(beat_bits: int) -> Config:
    demo = PRESETS["demo"]
    return replace(
        demo,
        kv=replace(demo.kv, beat_bits=beat_bits),
        memory=replace(demo.memory, hbm_port_bytes=BYTES),
    )


class PortBench:
    """A port in front of a memory of random bytes."""

    def __init__(
        self,
        bench: Any,
        packed: Any,
        clocks: str,
        beat_bits: int,
        timing: MemoryTiming,
        stall: float,
    ):
        self.packed, self.ratio = packed, beat_bits // HBM_PORT.data_bits
        self.unit: Any = HBMPort(config_of(beat_bits))
        self.bench = bench(self.unit, domains=CLOCKS[clocks], stall=stall, seed=2)
        self.content = bytearray(Random(3).randbytes(BYTES))
        self.memory = AxiMemory(
            self.unit.axi, HBM_PORT, self.content, timing=timing, domain="memory"
        )
        self.bench.serve(self.memory)

    def requests(self, port: Any, requests: list[Request], *, again: bool = False) -> list[int]:
        words = [self.packed(REQUEST, first=first, count=count) for first, count in requests]
        cycles: list[int] = self.bench.feed(port, words, again=again)
        return cycles

    def expected(self, requests: list[Request]) -> list[int | None]:
        """Return the payloads of what is read from the memory; None for an error."""
        payloads: list[int | None] = []
        width = 8 * SIZE * self.ratio
        for first, count in requests:
            if first + count > BEATS:
                payloads.append(None)
                continue
            for index in range(0, count, self.ratio):
                start, stop = first + index, first + min(count, index + self.ratio)
                data = int.from_bytes(self.content[start * SIZE : stop * SIZE], "little")
                last = index + self.ratio >= count
                payloads.append(data | int(last) << width + 1)
        return payloads

    def check(self, requests: list[Request], payloads: list[int]) -> None:
        bit = 8 * SIZE * self.ratio
        found = [None if payload >> bit & 1 else payload for payload in payloads]
        assert found == self.expected(requests)

    def stores(self, data: bytes, counts: list[int]) -> list[int]:
        """Return the payloads that write `data` in requests of so many beats."""
        payloads, at = [], 0
        layout = self.unit.data.payload.shape()
        for count in counts:
            for index in range(0, count, self.ratio):
                beats = min(count - index, self.ratio)
                octets = data[at : at + beats * SIZE]
                at += beats * SIZE
                fields = {"half": int(beats < self.ratio)} if self.ratio > 1 else {}
                number, strobe = int.from_bytes(octets, "little"), (1 << len(octets)) - 1
                payloads.append(self.packed(layout, data=number, strobe=strobe, **fields))
        return payloads


def drawn(count: int, seed: int) -> list[Request]:
    """Return legal requests below the middle of the memory."""
    random = Random(seed)
    return [(random.randrange(BEATS // 2 - 50), random.randrange(1, 50)) for _ in range(count)]


def wide(beats: int, ratio: int) -> int:
    return -(-beats // ratio)


@Clocks
@Widths
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_reads_and_writes_cross_in_order(
    bench: Any, packed: Callable[..., int], clocks: str, beat_bits: int, stall: float
) -> None:
    speed = MemoryTiming(latency=30, stall=stall, seed=4)
    one = PortBench(bench, packed, clocks, beat_bits, speed, stall)
    reads = [(0, 1), (15, 2), (0, 64), (BEATS - 1, 2), *drawn(12, 5)]
    expected = one.expected(reads)
    one.requests(one.unit.read, reads)
    payloads, _ = one.bench.drain(one.unit.beats, len(expected))
    # Writes go to the upper half, reads to the lower one.
    writes = [(BEATS // 2 + first, count) for first, count in drawn(12, 6)] + [(BEATS, 3)]
    counts = [count for _, count in writes]
    data = Random(7).randbytes(sum(counts) * SIZE)
    one.requests(one.unit.write, writes)
    one.bench.feed(one.unit.data, one.stores(data, counts))
    answers, _ = one.bench.drain(one.unit.answer, len(writes))
    image = bytearray(one.content)
    for (first, count), at in zip(writes[:-1], np.cumsum([0, *counts]).tolist(), strict=False):
        image[first * SIZE : (first + count) * SIZE] = data[at * SIZE : (at + count) * SIZE]
    one.bench.run()
    one.check(reads, payloads)
    assert answers == [0] * 12 + [1]
    assert one.content == image


@Clocks
@Widths
def test_the_slower_side_never_waits(
    bench: Any, packed: Callable[..., int], clocks: str, beat_bits: int
) -> None:
    one = PortBench(bench, packed, clocks, beat_bits, MemoryTiming(latency=50), 0.0)
    requests = [(0, 320), (16, 320)]
    beats = sum(wide(count, one.ratio) for _, count in requests)
    one.requests(one.unit.read, requests)
    _, cycles = one.bench.drain(one.unit.beats, beats)
    data = Random(7).randbytes(256 * SIZE)
    one.requests(one.unit.write, [(BEATS // 2, 256)])
    given = one.bench.feed(one.unit.data, one.stores(data, [256]))
    one.bench.drain(one.unit.answer, 1)
    one.bench.run()
    core, memory = (CLOCKS[clocks][name][0] for name in ("sync", "memory"))
    period = max(1.0, one.ratio * memory / core)
    for transfers in (cycles, given):
        assert transfers[-1] - transfers[0] <= period * (len(transfers) - 1) + 2


@Clocks
@Widths
def test_latencies_are_those_of_the_timing(
    bench: Any, packed: Callable[..., int], clocks: str, beat_bits: int
) -> None:
    """To a cycle, by how the edges lie; that of an answer where the memory keeps up."""
    memory_latency = 50
    one = PortBench(bench, packed, clocks, beat_bits, MemoryTiming(latency=memory_latency), 0.0)
    asked = one.requests(one.unit.read, [(0, 32)])
    _, cycles = one.bench.drain(one.unit.beats, 32 // one.ratio)
    # The second request to write comes long before its data.
    one.requests(one.unit.write, [(BEATS // 2, 16), (BEATS // 2 + 16, 16)])
    given = one.bench.feed(one.unit.data, one.stores(bytes(32 * SIZE), [16, 16]))
    _, answers = one.bench.drain(one.unit.answer, 2)
    one.bench.run()
    core, memory = (CLOCKS[clocks][name][0] for name in ("sync", "memory"))
    clock = memory / core
    slack = 0 if clocks == "2:1" else 1
    read = memory_timing.hbm_read_cycles(clock, paired=one.ratio > 1) + memory_latency * clock
    assert cycles[0] - asked[0] == pytest.approx(read, abs=slack)
    answer = memory_timing.hbm_answer_cycles(clock) + memory_latency * clock
    if one.ratio * clock < 1:
        assert answers[1] - given[-1] == pytest.approx(answer, abs=slack)


@Clocks
@Widths
@pytest.mark.parametrize("after", [17, 70])
@pytest.mark.parametrize(
    ("both", "length"),
    [(True, 8), (False, RESET_CYCLES), (False, 20)],
    ids=["both", "short", "long"],
)
def test_after_a_reset_the_next_run_is_clean(
    bench: Any,
    packed: Callable[..., int],
    clocks: str,
    beat_bits: int,
    after: int,
    both: bool,
    length: int,
) -> None:
    one = PortBench(bench, packed, clocks, beat_bits, MemoryTiming(latency=70, stall=0.2), 0.2)
    one.requests(one.unit.read, [(0, 100), (BEATS, 1), (3, 200)])
    old = BEATS // 2
    one.requests(one.unit.write, [(old, 33), (old, 40), (old, 40)])
    one.bench.feed(one.unit.data, one.stores(bytes(33 * SIZE), [33]))
    others = [one.bench.domains["memory"].rst] if both else []
    one.bench.tell_to_forget(after, *others, length=length)
    reads = [*drawn(6, 8), (BEATS, 1)]
    one.requests(one.unit.read, reads, again=True)
    payloads, _ = one.bench.drain(one.unit.beats, len(one.expected(reads)), shy=True)
    data = Random(7).randbytes(50 * SIZE)
    one.requests(one.unit.write, [(old, 50)], again=True)
    one.bench.feed(one.unit.data, one.stores(data, [50]), again=True)
    answers, _ = one.bench.drain(one.unit.answer, 1)
    one.bench.run()
    one.check(reads, payloads)
    assert answers == [0]
    assert one.content[old * SIZE : (old + 50) * SIZE] == data


def test_another_width_is_refused() -> None:
    with pytest.raises(InputError, match="beat_bits must be 256 or 512 for HBM ports, not 128"):
        HBMPort(config_of(128))


def test_the_port_has_two_clocks_in_verilog() -> None:
    text = emit(HBMPort(PRESETS["u280"]), "hbm_port")
    ports = text[text.index("module hbm_port(") :].split(");")[0]
    assert {"clk", "rst", "memory_clk", "memory_rst", "axi__ar__valid"} <= set(
        ports.replace("(", ", ").split(", ")
    )
