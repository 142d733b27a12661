"""Benches that more than one file of tests shares."""

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hwroute.column_format import LANES
from hwroute.config import PRESETS
from hwroute.models.ops import functions as golden_functions
from hwroute.models.ops import reduction as golden
from hwroute.numerics import FP16_MAGNITUDE_BITS, align_block
from hwroute.paths import build_dir
from hwroute.rtl import kv_bank, kv_directory, kv_keeper, kv_queues, kv_walk
from hwroute.rtl.emit import library_files, simulation_files
from hwroute.rtl.reduction import Reduction, RowReduction, tile_layout
from hwroute.rtl.softmax import NO_MAXIMUM
from hwroute.sim.machine.build import emitted_machine
from hwroute.sim.toolchain import find_verilator
from hwroute.sim.units import Run, UnitSimulation

WAIVERS = Path(__file__).with_name("lint.vlt")


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of FP16 patterns x [tiles, 64] and what it is reduced to.

    valid: [tiles, 64] bool. maximum: what EXPONENTIALS subtracts; None for the row's own.
    """

    function: Reduction
    x: Any
    valid: Any = None
    maximum: int | None = None
    slot: int = 0

    def mask(self) -> Any:
        return np.ones(self.x.shape, bool) if self.valid is None else self.valid

    def subtracted(self) -> int:
        if self.maximum is not None:
            return self.maximum
        if not self.mask().any():
            return 0
        return int(golden.ceiling_of_maximum(self.x.ravel(), self.mask().ravel()))

    def probabilities(self) -> Any:
        """Return the golden P [tiles, 64]."""
        p = golden_functions.probabilities(self.x, np.int64(self.subtracted()))
        return np.where(self.mask(), p, 0)

    def result(self) -> int:
        """Return the golden result as 32 bits."""
        if self.function is Reduction.SQUARES:
            return bits_of(golden.sum_of_squares(self.x.reshape(1, -1))[0])
        if self.function is Reduction.EXPONENTIALS:
            return bits_of(golden.sum_of_probabilities(self.probabilities().ravel()))
        if not self.mask().any():
            return NO_MAXIMUM & 0xFFFFFFFF
        return int(golden.ceiling_of_maximum(self.x.ravel(), self.mask().ravel())) & 0xFFFFFFFF


def bits_of(value: Any) -> int:
    return int(np.float32(value).view(np.uint32))


class RowBench:
    """A row reduction in Verilator whose every output is compared with the golden one."""

    row = Row

    def __init__(self) -> None:
        self.simulation = UnitSimulation(RowReduction(), folder=build_dir())

    @staticmethod
    def in_turn(rows: list[Row]) -> list[tuple[Row, int]]:
        """Return the tiles of whole rows, one after the other, as pairs of row and index."""
        return [(row, index) for row in rows for index in range(len(row.x))]

    @staticmethod
    def interleaved(rows: list[Row], rng: np.random.Generator) -> list[tuple[Row, int]]:
        """Return tiles in random order, but for rows of the same function and slot."""
        queues: dict[tuple[Any, int], list[tuple[Row, int]]] = {}
        for row in rows:
            queue = queues.setdefault((row.function, row.slot), [])
            queue.extend((row, index) for index in range(len(row.x)))
        tiles = []
        while queues:
            key = list(queues)[int(rng.integers(0, len(queues)))]
            tiles.append(queues[key].pop(0))
            if not queues[key]:
                del queues[key]
        return tiles

    def check(self, folder: Path, tiles: list[tuple[Row, int]], stall: float = 0.0) -> Run:
        """Feed tiles, then compare every probability and every result."""
        records = [_tile(row, index) for row, index in tiles]
        fields = {name: np.array([record[name] for record in records]) for name, _ in tile_layout()}
        ended = [row for row, index in tiles if index == len(row.x) - 1]
        exponentials = [row for row in ended if row.function is Reduction.EXPONENTIALS]
        p = np.concatenate([np.zeros((0, LANES)), *(row.probabilities() for row in exponentials)])
        expect = {"p": len(p), "o": len(ended)}
        run = self.simulation.run({"i": fields}, expect, folder=folder, stall=stall, seed=17)
        assert np.array_equal(run.outputs["p"]["lanes"], p)
        lasts = [np.arange(len(row.x)) == len(row.x) - 1 for row in exponentials]
        assert np.array_equal(run.outputs["p"]["last"], np.concatenate([np.zeros(0), *lasts]))
        results = run.outputs["o"]
        for index, row in enumerate(ended):
            assert results["function"][index] == row.function.value, index
            assert results["value"][index] == row.result(), (index, row)
            if row.function is Reduction.SQUARES:
                assert results["slot"][index] == row.slot, index
        return run


def _tile(row: Row, index: int) -> dict[str, Any]:
    """Return the fields of a tile."""
    lanes, exponent = row.x[index].astype(np.int64), np.int64(0)
    if row.function is Reduction.SQUARES:
        lanes, exponent = align_block(row.x[index], FP16_MAGNITUDE_BITS)
    return {
        "function": row.function.value,
        "slot": row.slot,
        "first": int(index == 0),
        "last": int(index == len(row.x) - 1),
        "exponent": exponent,
        "maximum": row.subtracted() if row.function is Reduction.EXPONENTIALS else 0,
        "mask": np.packbits(row.mask()[index], bitorder="little").view("<u8")[0],
        "lanes": lanes,
    }


@pytest.fixture(scope="session")
def rows() -> RowBench:
    return RowBench()


def complaints(verilog: str, top: str, folder: Path) -> list[str]:
    """Return Verilator's complaints about Verilog and the modules that it instantiates."""
    file = folder / "emitted.v"  # the name that the waivers are for
    file.write_text(verilog, encoding="utf-8")
    verilator = find_verilator()
    sources = [str(path) for path in (WAIVERS, file, *library_files(), *simulation_files())]
    done = subprocess.run(
        [str(verilator.path), "--lint-only", "-Wall", "--top-module", top, *sources],
        env=verilator.environment(),
        capture_output=True,
        text=True,
    )
    found = [line for line in done.stderr.splitlines() if line.startswith("%")]
    assert (done.returncode == 0) == (not found), done.stderr
    return found


@pytest.fixture(scope="session")
def lint() -> Callable[[str, str, Path], list[str]]:
    """Return `complaints`."""
    return complaints


@pytest.fixture(scope="session")
def machine_text() -> Callable[[str], str]:
    """Return the machine at a preset as simulations keep it: at full size it takes minutes."""
    return lambda name: emitted_machine(PRESETS[name], build_dir() / "machine" / "emitted")


class MemoryRam(wiring.Component):
    """`hwroute.rtl.ram.Ram` for Amaranth's simulator, which knows no Verilog."""

    def __init__(self, shape: Any, depth: int):
        self.shape, self.depth = shape, depth
        address = max(1, (depth - 1).bit_length())
        super().__init__(
            {
                "write_en": In(1),
                "write_addr": In(address),
                "write_data": In(shape),
                "read_en": In(1),
                "read_addr": In(address),
                "read_data": Out(shape),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.memory = memory = Memory(shape=self.shape, depth=self.depth, init=[])
        write, read = memory.write_port(), memory.read_port()
        m.d.comb += [
            write.en.eq(self.write_en),
            write.addr.eq(self.write_addr),
            write.data.eq(self.write_data),
            read.en.eq(self.read_en),
            read.addr.eq(self.read_addr),
            self.read_data.eq(read.data),
        ]
        return m


@pytest.fixture
def memory_rams(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Amaranth's simulator see into the memories of the KV unit."""
    for module in (kv_bank, kv_directory, kv_keeper, kv_queues, kv_walk):
        monkeypatch.setattr(module, "Ram", MemoryRam)
