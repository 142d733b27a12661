# amaranth: UnusedElaboratable=no
"""`ReadShare` gives every user the beats that it asked for, and nobody waits for long."""

from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hwroute import memory_timing
from hwroute.rtl.axi import DDR_PORT
from hwroute.rtl.memory_layouts import REQUEST, beat_layout
from hwroute.rtl.memory_reader import MemoryReader
from hwroute.rtl.read_share import ReadShare
from hwroute.sim.axi_model import AxiMemory, MemoryTiming

USERS = ("dma", "scales", "program")
BEATS = beat_layout(DDR_PORT.words)
SIZE = DDR_PORT.data_bytes
BYTES = 1 << 14


class SharedReader(wiring.Component):
    """A reader that several share."""

    def __init__(self) -> None:
        self.reader: Any = MemoryReader(DDR_PORT, beats=BYTES // SIZE)
        members: dict[str, Any] = {
            "ar": Out(stream.Signature(DDR_PORT.address)),
            "r": In(stream.Signature(DDR_PORT.read)),
        }
        for name in USERS:
            members[f"request_{name}"] = In(stream.Signature(REQUEST))
            members[f"beats_{name}"] = Out(stream.Signature(BEATS))
        super().__init__(members)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        share: Any = ReadShare(BEATS, USERS)
        m.submodules.share = share
        m.submodules.reader = reader = self.reader
        connect(m, share.request, reader.request)
        connect(m, reader.o, share.beats)
        connect(m, reader.ar, flipped(self.ar))
        connect(m, flipped(self.r), reader.r)
        for name in USERS:
            connect(m, flipped(getattr(self, f"request_{name}")), getattr(share, f"request_{name}"))
            connect(m, getattr(share, f"beats_{name}"), flipped(getattr(self, f"beats_{name}")))
        return m


def expected(content: bytearray, requests: list[tuple[int, int]]) -> list[int]:
    """Return the payloads of the beats of requests; one with an error where the memory ends."""
    payloads = []
    error, last = 1 << BEATS["error"].offset, 1 << BEATS["last"].offset
    for first, count in requests:
        if first + count > BYTES // SIZE:
            payloads.append(error | last)
            continue
        for index in range(count):
            octets = content[(first + index) * SIZE : (first + index + 1) * SIZE]
            data = int.from_bytes(octets, "little")
            payloads.append(data | (last if index == count - 1 else 0))
    return payloads


def masked(payloads: list[int]) -> list[int]:
    """Return payloads without the data of those that are in error."""
    error = BEATS["error"].offset
    return [one >> error << error if one >> error & 1 else one for one in payloads]


@pytest.mark.parametrize(("latency", "stall"), [(1, 0.0), (40, 0.0), (20, 0.5)])
def test_every_user_gets_its_own_beats(
    bench: Any, packed: Callable[..., int], latency: int, stall: float
) -> None:
    unit: Any = SharedReader()
    one = bench(unit, stall=stall, seed=3)
    content = bytearray(Random(1).randbytes(BYTES))
    speed = MemoryTiming(latency=latency, stall=stall)
    memory = AxiMemory(unit, DDR_PORT, content, timing=speed)
    one.serve(memory, writes=False)
    random = Random(2)
    found, wanted = {}, {}
    for name in USERS:
        requests = [(random.randrange(BYTES // SIZE), random.randrange(1, 12)) for _ in range(30)]
        words = [packed(REQUEST, first=first, count=count) for first, count in requests]
        one.feed(getattr(unit, f"request_{name}"), words)
        wanted[name] = expected(content, requests)
        found[name], _ = one.drain(getattr(unit, f"beats_{name}"), len(wanted[name]))
    one.run()
    assert {name: masked(payloads) for name, payloads in found.items()} == wanted


def test_users_take_turns_and_no_beat_is_lost(bench: Any, packed: Callable[..., int]) -> None:
    latency = 30
    unit: Any = SharedReader()
    one = bench(unit)
    memory = AxiMemory(unit, DDR_PORT, bytearray(BYTES), timing=MemoryTiming(latency=latency))
    one.serve(memory, writes=False)
    asked, given = {}, {}
    for name in USERS:
        words = [packed(REQUEST, first=8 * n, count=8) for n in range(20)]
        asked[name] = one.feed(getattr(unit, f"request_{name}"), words)
        _, given[name] = one.drain(getattr(unit, f"beats_{name}"), 160)
    one.run()
    cycles = sorted(cycle for each in given.values() for cycle in each)
    assert set(np.diff(cycles)) == {1}
    # After each has been served n times, nobody is a turn ahead.
    ends = sorted((each[8 * n + 7], n) for each in given.values() for n in range(20))
    assert [n for _, n in ends] == sorted(n for _, n in ends)
    alone = memory_timing.MEMORY_REQUEST_CYCLES + latency + memory_timing.MEMORY_BEAT_CYCLES
    first = min(each[0] for each in asked.values())
    assert cycles[0] - first == alone + 2 * memory_timing.READ_SHARE_CYCLES


def test_nobody_to_share_with_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Users must be at least one, not \(\)"):
        ReadShare(BEATS, ())
