# amaranth: UnusedElaboratable=no
"""The scratchpad against a memory in Python, by the cycles in which requests were accepted."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hwroute import timing
from hwroute.config import PRESETS
from hwroute.isa.fields import LINE_BYTES, LINE_ELEMENTS
from hwroute.memory_config import MemoryConfig
from hwroute.paths import build_dir
from hwroute.rtl.emit import emit
from hwroute.rtl.scratchpad import READERS, WRITERS, Scratchpad
from hwroute.rtl.scratchpad_layouts import LINE, READ, WRITE
from hwroute.sim.units import Run, UnitSimulation

SMALL = MemoryConfig(scratchpad_bytes=37 * LINE_BYTES, scratchpad_banks=4)
"""Neither lines nor rows of a bank are a power of two."""


class ScratchpadBench(wiring.Component):
    """A scratchpad with plain streams, whose reads wait for a number of writes, and its errors."""

    def __init__(self, unit: Scratchpad):
        self.unit = unit
        requests = {f"{name}_read": In(stream.Signature(READ)) for name in unit.readers}
        lines = {f"{name}_line": Out(stream.Signature(LINE)) for name in unit.readers}
        writes = {f"{name}_write": In(stream.Signature(WRITE)) for name in unit.writers}
        ports = {"writes_first": In(16), "read_errors": Out(64), "write_errors": Out(64)}
        super().__init__(requests | lines | writes | ports)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.unit = unit = self.unit
        written, is_open = Signal(16), Signal()
        m.d.comb += is_open.eq(written >= self.writes_first)
        for name in self.unit.readers:
            port, request = getattr(unit, f"read_{name}"), getattr(self, f"{name}_read")
            wiring.connect(m, port.response, wiring.flipped(getattr(self, f"{name}_line")))
            m.d.comb += [
                port.request.payload.eq(request.payload),
                port.request.valid.eq(request.valid & is_open),
                request.ready.eq(port.request.ready & is_open),
            ]
        accepted = []
        for name in self.unit.writers:
            request = getattr(self, f"{name}_write")
            wiring.connect(m, wiring.flipped(request), getattr(unit, f"write_{name}").request)
            accepted.append(request.valid & request.ready)
        m.d.sync += written.eq(written + sum(Mux(one, 1, 0) for one in accepted))
        # Eight bits a port count its errors.
        for errors, counts in (
            (unit.read_errors, self.read_errors),
            (unit.write_errors, self.write_errors),
        ):
            for port in range(len(errors)):
                count = counts.word_select(port, 8)
                m.d.sync += count.eq(count + errors[port])
        return m


@dataclass(frozen=True, kw_only=True)
class Bench:
    """A built scratchpad and its sizes."""

    unit: Scratchpad
    simulation: UnitSimulation

    @classmethod
    def of(cls, memory: MemoryConfig, **ports: Any) -> "Bench":
        unit = Scratchpad(memory, **ports)
        return cls(unit=unit, simulation=UnitSimulation(ScratchpadBench(unit), folder=build_dir()))

    def fill(self, rng: np.random.Generator) -> list[dict[str, Any]]:
        """Return writes, by writer, of every line with random elements."""
        lines = np.arange(self.unit.lines)
        return [writes_of(rng, part) for part in np.array_split(lines, len(self.unit.writers))]

    def check(
        self,
        folder: Path,
        reads: list[Any],
        writes: list[dict[str, Any]],
        *,
        first: int = 0,
        stall: float = 0.0,
    ) -> Run:
        """Run; compare each line read with what was written before its request was accepted.

        Elements that were never written are not compared.
        """
        inputs: dict[str, Any] = {
            f"{name}_read": {"line": np.asarray(lines)}
            for name, lines in zip(self.unit.readers, reads, strict=True)
        }
        for name, fields in zip(self.unit.writers, writes, strict=True):
            mask = np.packbits(fields["mask"], axis=1, bitorder="little").view("<u8").reshape(-1)
            inputs[f"{name}_write"] = fields | {"mask": mask}
        run = self.simulation.run(
            inputs,
            {
                f"{name}_line": len(lines)
                for name, lines in zip(self.unit.readers, reads, strict=True)
            },
            folder=folder,
            settings={"writes_first": first},
            stall=stall,
            seed=5,
        )
        assert self._compare(run, reads, writes) or not sum(map(len, reads))
        self._check_errors(run, reads, writes)
        return run

    def _compare(self, run: Run, reads: list[Any], writes: list[dict[str, Any]]) -> int:
        """Compare all lines read; return how many elements were."""
        events = [
            (cycle, 1, port, index)
            for port, name in enumerate(self.unit.writers)
            for index, cycle in enumerate(run.in_cycles[f"{name}_write"])
        ] + [
            (cycle, 0, port, index)
            for port, name in enumerate(self.unit.readers)
            for index, cycle in enumerate(run.in_cycles[f"{name}_read"])
        ]
        rows = np.zeros((self.unit.lines, LINE_ELEMENTS), np.int64)
        known = np.zeros(rows.shape, bool)
        compared = 0
        # A read comes before a write of the same cycle.
        for _, is_write, port, index in sorted(events):
            if is_write:
                line, mask = writes[port]["line"][index], writes[port]["mask"][index]
                if line < self.unit.lines:
                    rows[line, mask] = writes[port]["data"][index, mask]
                    known[line] |= mask
                continue
            line, got = reads[port][index], run.outputs[f"{self.unit.readers[port]}_line"][index]
            if line >= self.unit.lines:
                assert not got.any(), (port, index)
                continue
            where = known[line]
            assert np.array_equal(got[where], rows[line, where]), (port, index, line)
            compared += int(where.sum())
        return compared

    def _check_errors(self, run: Run, reads: list[Any], writes: list[dict[str, Any]]) -> None:
        written = [fields["line"] for fields in writes]
        for kind, ports in (("read_errors", reads), ("write_errors", written)):
            beyond = [int(np.sum(np.asarray(lines) >= self.unit.lines)) for lines in ports]
            counts = [run.results[kind] >> 8 * port & 255 for port in range(len(ports))]
            assert counts == [count & 255 for count in beyond], kind


@pytest.fixture(scope="module")
def demo() -> Bench:
    return Bench.of(PRESETS["demo"].memory)


@pytest.fixture(scope="module")
def small() -> Bench:
    return Bench.of(SMALL, readers=("a", "b"), writers=("c", "d"))


def writes_of(rng: np.random.Generator, lines: Any, masks: Any = None) -> dict[str, Any]:
    """Return writes of random elements; of all of them where no masks [n, 64] are given."""
    data = rng.integers(0, 1 << 16, (len(lines), LINE_ELEMENTS))
    return {
        "line": np.asarray(lines, np.int64),
        "data": data,
        "mask": np.ones(data.shape, bool) if masks is None else masks,
    }


def random_masks(rng: np.random.Generator, count: int) -> Any:
    """Return masks [count, 64]: none, all, one element, or random ones."""
    kind = rng.integers(0, 4, (count, 1))
    one = np.arange(LINE_ELEMENTS) == rng.integers(0, LINE_ELEMENTS, (count, 1))
    some = rng.integers(0, 2, (count, LINE_ELEMENTS)) == 1
    return np.select([kind == 0, kind == 1, kind == 2], [False, True, one], some)


def nothing(bench: Bench) -> list[dict[str, Any]]:
    return [writes_of(np.random.default_rng(0), []) for _ in bench.unit.writers]


@pytest.mark.cpp
@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize("size", ["demo", "small"])
def test_random_traffic_gives_what_was_written_before(
    size: str, request: Any, tmp_path: Path, stall: float
) -> None:
    """All ports on few lines, so that they collide and overwrite; a few lines beyond the end."""
    bench, rng = request.getfixturevalue(size), np.random.default_rng(21)
    end = bench.unit.lines
    pool = np.concatenate([np.arange(12), [end - 2, end - 1]])
    beyond = np.array([end, end + 1, 1 << 16, 1 << 31, (1 << 32) - 1])

    def lines(count: int) -> Any:
        return np.where(
            rng.random(count) < 0.05, rng.choice(beyond, count), rng.choice(pool, count)
        )

    writes = []
    for fill in bench.fill(rng):
        count = 400
        more = writes_of(rng, lines(count), random_masks(rng, count))
        writes.append({name: np.concatenate([fill[name], more[name]]) for name in fill})
    reads = [lines(700) for _ in bench.unit.readers]
    bench.check(tmp_path, reads, writes, first=end, stall=stall)


@pytest.mark.cpp
def test_ports_keep_a_line_a_cycle_after_one_collision(demo: Bench, tmp_path: Path) -> None:
    """Eight readers and three writers go through lines one by one, all from the same bank."""
    rng, count = np.random.default_rng(22), 200
    fill = demo.fill(rng)
    filled = max(len(fields["line"]) for fields in fill)
    writes = []
    for port, fields in enumerate(fill):
        more = writes_of(rng, 64 * port + np.arange(count))
        writes.append({name: np.concatenate([fields[name], more[name]]) for name in fields})
    reads = [32 * port + np.arange(count) for port in range(len(READERS))]
    run = demo.check(tmp_path, reads, writes, first=demo.unit.lines)
    begin = min(run.in_cycles[f"{name}_read"][0] for name in READERS)
    for name in READERS:
        cycles = run.in_cycles[f"{name}_read"]
        assert cycles[-1] <= begin + count - 1 + len(READERS) - 1
        assert np.all(np.diff(cycles) == 1)
        took = run.out_cycles[f"{name}_line"] - cycles
        assert np.all(took == timing.SCRATCHPAD_READ_CYCLES)
    for name, fields in zip(WRITERS, fill, strict=True):
        cycles = run.in_cycles[f"{name}_write"]
        assert cycles[-1] - cycles[0] <= filled + count + len(WRITERS)
        assert np.all(np.diff(cycles[len(fields["line"]) :])[len(WRITERS) :] == 1)


@pytest.mark.cpp
def test_ports_that_want_one_bank_take_turns(demo: Bench, tmp_path: Path) -> None:
    """Every bank's access is used, and no port waits longer than the others."""
    rng, count = np.random.default_rng(23), 50
    banks = demo.unit.memory.scratchpad_banks
    column = banks * np.arange(count) % demo.unit.lines
    reads = [column for _ in READERS]
    run = demo.check(tmp_path, reads, demo.fill(rng), first=demo.unit.lines)
    cycles = np.array([run.in_cycles[f"{name}_read"] for name in READERS])
    assert np.array_equal(np.sort(cycles.ravel()), cycles.min() + np.arange(cycles.size))
    assert np.all(np.diff(cycles, axis=1) == len(READERS))

    writes = [writes_of(rng, column) for _ in WRITERS]
    run = demo.check(tmp_path / "writes", [[] for _ in READERS], writes)
    cycles = np.array([run.in_cycles[f"{name}_write"] for name in WRITERS])
    assert np.array_equal(np.sort(cycles.ravel()), cycles.min() + np.arange(cycles.size))
    assert np.all(np.diff(cycles, axis=1) == len(WRITERS))


@pytest.mark.cpp
def test_a_read_in_the_next_cycle_sees_a_write(small: Bench, tmp_path: Path) -> None:
    """One line, written and read in every cycle: a read gives the write of the cycle before."""
    rng, count = np.random.default_rng(24), 100
    writes = [writes_of(rng, np.full(count, 5)), writes_of(rng, [])]
    run = small.check(tmp_path, [np.full(count, 5), []], writes, first=1)
    reads, written = run.in_cycles["a_read"], run.in_cycles["c_write"]
    assert np.all(np.diff(reads) == 1)
    assert np.intersect1d(reads, written + 1).size > count // 2


@pytest.mark.parametrize("name", ["demo", "u280"])
def test_banks_are_memories_of_equal_depth(name: str) -> None:
    memory = PRESETS[name].memory
    text = emit(Scratchpad(memory), "scratchpad")
    rows = memory.scratchpad_bytes // LINE_BYTES // memory.scratchpad_banks
    assert len(re.findall(r"^module hwroute_scratchpad_bank\(", text, re.MULTILINE)) == 1
    assert len(re.findall(r"^  hwroute_scratchpad_bank ", text, re.MULTILINE)) == 8
    assert re.search(rf"\.DEPTH\(32'd{rows}\)", text)


def test_wrong_sizes_are_refused() -> None:
    memory: Any = 65536
    with pytest.raises(TypeError, match="Sizes must be a MemoryConfig, not 65536"):
        Scratchpad(memory)
    with pytest.raises(ValueError, match="scratchpad_banks must be a power of two up to 64, not 3"):
        MemoryConfig(scratchpad_banks=3)
