"""Memory ports on the memory model inside Verilator: files in, files out, and its speed."""

from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from numpy.typing import NDArray

from hwroute import memory_timing
from hwroute.errors import HwrouteError
from hwroute.paths import build_dir
from hwroute.rtl.axi import DDR_PORT, HBM_PORT, AxiPort, Response
from hwroute.rtl.memory_port import MemoryPort, memory_members
from hwroute.sim.units import Run, UnitSimulation
from hwroute.sim.verilog_memory import SETTINGS, VerilogMemory

BYTES = 1 << 16
Bytes = NDArray[np.uint8]


class PortAndMemory(wiring.Component):
    """A port in front of a memory."""

    def __init__(self, port: AxiPort):
        self.memory: Any = VerilogMemory(port, beats=BYTES // port.data_bytes)
        # The port believes in a memory of twice the size: what is behind the end must not be there.
        self.port: Any = MemoryPort(port, beats=2 * BYTES // port.data_bytes)
        streams = {k: v for k, v in memory_members(port, paired=False).items() if k != "axi"}
        settings = {f"memory_{name}": In(bits) for name, bits in SETTINGS.items()}
        super().__init__(streams | settings)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.memory = memory = self.memory
        m.submodules.port = port = self.port
        connect(m, port.axi, memory.axi)
        for name in ("read", "write", "data"):
            connect(m, flipped(getattr(self, name)), getattr(port, name))
        for name in ("beats", "answer"):
            connect(m, getattr(port, name), flipped(getattr(self, name)))
        for name in SETTINGS:
            m.d.comb += getattr(memory, name).eq(getattr(self, f"memory_{name}"))
        return m


class Bursts(wiring.Component):
    """A memory whose channels are fed by the test, which may break the rules."""

    def __init__(self) -> None:
        self.memory: Any = VerilogMemory(HBM_PORT, beats=BYTES // HBM_PORT.data_bytes)
        super().__init__(
            {
                "ar": In(stream.Signature(HBM_PORT.address)),
                "r": Out(stream.Signature(HBM_PORT.read)),
                "aw": In(stream.Signature(HBM_PORT.address)),
                "w": In(stream.Signature(HBM_PORT.write)),
                "b": Out(stream.Signature(Response)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.memory = memory = self.memory
        m.d.comb += memory.latency.eq(1)
        for name in ("ar", "aw", "w"):
            connect(m, flipped(getattr(self, name)), getattr(memory.axi, name))
        for name in ("r", "b"):
            connect(m, getattr(memory.axi, name), flipped(getattr(self, name)))
        return m


class Bench:
    """A port and its memory of random bytes, built for Verilator."""

    def __init__(self, port: AxiPort):
        self.port = port
        self.unit = PortAndMemory(port)
        self.simulation = UnitSimulation(self.unit, folder=build_dir())
        self.content: Bytes = np.frombuffer(Random(3).randbytes(BYTES), np.uint8)

    def run(
        self,
        folder: Path,
        reads: list[tuple[int, int]],
        writes: list[tuple[int, int]],
        data: Bytes,
        *,
        latency: int,
        stall: float = 0.0,
        beats: int | None = None,
        bad: tuple[int, int] = (0, 0),
    ) -> Run:
        """Run requests (first beat, count); `data` is written with all strobes."""
        self.unit.memory.fill(folder, self.content)
        words = data.view(np.uint64).reshape(-1, self.port.data_bits // 64)
        strobes = np.full(len(words), (1 << self.port.data_bytes) - 1, np.uint64)
        settings = {"latency": latency, "stall": round(stall * 256), "seed": 5}
        settings |= {"bad_from": bad[0], "bad_to": bad[1]}
        settings |= {"bad_read": Response.SLVERR.value, "bad_write": Response.SLVERR.value}
        return self.simulation.run(
            {
                "read": requests(reads),
                "write": requests(writes),
                "data": {"data": words, "strobe": strobes},
            },
            {
                "beats": sum(count for _, count in reads) if beats is None else beats,
                "answer": len(writes),
            },
            folder=folder,
            settings={f"memory_{name}": value for name, value in settings.items()},
            stall=stall,
            seed=9,
        )


def requests(pairs: list[tuple[int, int]]) -> dict[str, NDArray[np.int64]]:
    table = np.array(pairs, np.int64).reshape(-1, 2)
    return {"first": table[:, 0], "count": table[:, 1]}


@pytest.fixture(scope="module", params=[HBM_PORT, DDR_PORT], ids=["hbm", "ddr"])
def memory(request: pytest.FixtureRequest) -> Bench:
    return Bench(request.param)


def drawn(limit: int, count: int, seed: int) -> list[tuple[int, int]]:
    random = Random(seed)
    return [(random.randrange(limit - 60), random.randrange(1, 60)) for _ in range(count)]


@pytest.mark.cpp
@pytest.mark.parametrize(("latency", "stall"), [(1, 0.0), (62, 0.0), (30, 0.5)])
def test_what_is_in_the_files_is_read_and_what_is_written_is_in_the_files(
    memory: Bench, tmp_path: Path, latency: int, stall: float
) -> None:
    size = memory.port.data_bytes
    half = BYTES // size // 2
    reads = [(0, 200), *drawn(half, 60, 6)]
    writes = [(half + first, count) for first, count in [(0, 200), *drawn(half, 60, 7)]]
    total = sum(count for _, count in writes)
    data = np.frombuffer(Random(8).randbytes(total * size), np.uint8)
    run = memory.run(tmp_path, reads, writes, data, latency=latency, stall=stall)
    rows = memory.content.reshape(-1, size)
    expected = np.concatenate([rows[first : first + count] for first, count in reads])
    found = np.ascontiguousarray(run.outputs["beats"]["data"]).view(np.uint8)
    assert np.array_equal(found.reshape(-1, size), expected)
    assert not run.outputs["beats"]["error"].any()
    assert not run.outputs["answer"]["error"].any()
    image, at = rows.copy(), 0
    for first, count in writes:
        image[first : first + count] = data.reshape(-1, size)[at : at + count]
        at += count
    assert np.array_equal(memory.unit.memory.dump(tmp_path), image.reshape(-1))
    if not stall:
        # Both directions at once, without a bubble from the first beat to the last.
        assert set(np.diff(run.out_cycles["beats"][:200])) == {1}
        assert set(np.diff(run.in_cycles["data"][:200])) == {1}
        first = memory_timing.MEMORY_REQUEST_CYCLES + latency + memory_timing.MEMORY_BEAT_CYCLES
        assert run.out_cycles["beats"][0] - run.in_cycles["read"][0] == first


@pytest.mark.cpp
def test_errors_are_told(memory: Bench, tmp_path: Path) -> None:
    size = memory.port.data_bytes
    beats = BYTES // size
    data = np.zeros(9 * size, np.uint8)
    reads = [(20, 4), (beats - 1, 3), (3 * beats, 2)]
    writes = [(21, 1), (beats - 1, 2), (3 * beats, 5), (40, 1)]
    bad = (21 * size, 23 * size)
    run = memory.run(tmp_path, reads, writes, data, latency=7, beats=8, bad=bad)
    assert run.outputs["beats"]["error"].tolist() == [0, 1, 1, 0, 0, 1, 1, 1]
    assert run.outputs["answer"]["error"].tolist() == [1, 1, 1, 0]
    image = memory.content.reshape(-1, size).copy()
    image[40] = 0
    # The last beat of the memory is a burst of its own: its neighbour is behind the end.
    image[beats - 1] = 0
    assert np.array_equal(memory.unit.memory.dump(tmp_path), image.reshape(-1))


@pytest.fixture(scope="module")
def bursts() -> tuple[Any, UnitSimulation]:
    unit = Bursts()
    return unit.memory, UnitSimulation(unit, folder=build_dir())


@pytest.mark.cpp
@pytest.mark.parametrize(
    ("address", "length", "last", "message"),
    [
        (8, 0, 0, "address 0000000000000008 is not that of a beat"),
        (0xFE0, 1, 1, "the burst at 0000000000000fe0 leaves its window"),
        (0x20, 15, 15, "the burst at 0000000000000020 leaves its window"),
        (0x40, 3, 2, "the data at 0000000000000040 do not end where their address says"),
    ],
)
def test_a_broken_rule_stops_the_simulation(
    bursts: tuple[Any, UnitSimulation],
    tmp_path: Path,
    address: int,
    length: int,
    last: int,
    message: str,
) -> None:
    memory, simulation = bursts
    memory.fill(tmp_path, np.zeros(0, np.uint8))
    beats = length + 1
    one = {"address": np.array([address]), "length": np.array([length])}
    none = {"address": np.zeros(0, np.int64), "length": np.zeros(0, np.int64)}
    data = {
        "data": np.zeros((beats, 4), np.int64),
        "strobe": np.zeros(beats, np.int64),
        "last": (np.arange(beats) == last).astype(np.int64),
    }
    with pytest.raises(HwrouteError, match=message):
        simulation.run(
            {"ar": none, "aw": one, "w": data}, {"r": 0, "b": 1}, folder=tmp_path, max_cycles=500
        )
