"""What the benches of the attention units share: memories, row lists, KV unit, and the array."""

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any, ClassVar

import numpy as np
from amaranth.sim import Simulator

from hwroute.column_format import LANES
from hwroute.config import PRESETS, Config
from hwroute.isa.fields import Register
from hwroute.isa.instruction import Instruction
from hwroute.isa.parts import PITCH
from hwroute.models.image import Image
from hwroute.models.interpreter.array import Array
from hwroute.models.interpreter.kv import KVUnit
from hwroute.models.interpreter.state import MachineError, State
from hwroute.paths import build_dir
from hwroute.rtl.array import PEArray
from hwroute.rtl.attention_layouts import SWEEP, batch_layout, source_count
from hwroute.rtl.issue_layouts import ISSUED
from hwroute.rtl.row_list_layouts import ROW
from hwroute.rtl.statistics_layouts import VECTOR
from hwroute.sim.units import UnitSimulation
from hwroute.timing import SCRATCHPAD_READ_CYCLES
from tests.rtl.stream_ends import Sink, Source, integer, value_of

DEMO = PRESETS["demo"]
LINES = 1024
DRAIN_CYCLES = 20


def small(**array: int) -> Config:
    """Return the demo configuration with a scratchpad of `LINES`, and another array."""
    memory = replace(DEMO.memory, scratchpad_bytes=LINES * 128, statistics=1024)
    return replace(DEMO, memory=memory, array=replace(DEMO.array, **array))


class AttentionBench:
    """A unit that runs one instruction, its surroundings, and the interpreter's state.

    A bench of a unit says which instruction, which control and which model of the array, and has
    `add`.

    Parameters: tokens, of the entries in order; vector_lines, of a K or V vector; position, of
    the tile; stall, chance that a stream idles in a cycle; batch, most entries of a batch; sigma,
    of the logarithm of elements of K or V.
    """

    name: ClassVar[str]
    control: ClassVar[Any]
    array_model: ClassVar[Any]
    kinds: ClassVar[tuple[str, ...]] = ("lines",)
    """Of the streams that every source of entries has."""

    def __init__(
        self,
        config: Config,
        *,
        seed: int,
        tokens: Any,
        vector_lines: int = 4,
        position: int = 20,
        stall: float = 0.0,
        latency: int = 12,
        batch: int | None = None,
        sigma: float = 1.0,
    ):
        self.config, self.stall, self.latency = config, stall, latency
        self.rng, self.random = np.random.default_rng(seed), Random(seed)
        self.sources, self.position = source_count(config), position
        self.batch = batch or self.sources
        empty = np.zeros((config.kv.hbm_ports, 1, 32), np.uint8)
        image = Image(hbm=empty, ddr=np.zeros((1, 128), np.uint8), program="", model="")
        self.state = State(config, image, config.array.accumulator_rows)
        self.state.scratchpad[:] = self.spread((LINES, 64))
        self.state.statistics[:] = self.rng.integers(0, 1 << 32, len(self.state.statistics))
        self.state.planes[:] = self.rng.random(self.state.planes.shape) < 0.6
        self.state.planes[1] = False
        self.state.planes[2] = False
        self.state.planes[2, 0] = True
        self.state.registers[Register.POSITION] = position
        self.kv = KVUnit(self.state)
        self.kv.tokens = np.array(tokens, np.int64)
        self.vectors = self.spread((len(tokens), vector_lines, 64), sigma)
        self.kv._map = Instruction("kv.map", {"vector": 4 * vector_lines, "exponents": 1})
        slots = np.zeros((len(tokens), (2 * 4 * vector_lines + 1) * 32), np.uint8)
        if len(tokens):
            self.fill(slots, 128 * vector_lines)
        self.kv._entries = slots
        self.vector_lines = vector_lines
        self.golden = Array(self.state, self.kv)
        self.issued: list[tuple[Instruction, int]] = []
        self.sweeps: list[Any] = []
        self.unit: Any = self.control(config)

    def spread(self, shape: Any, sigma: float = 1.0) -> Any:
        """FP16 with outliers, some of them zero."""
        wide = self.rng.standard_normal(shape) * np.exp2(sigma * self.rng.standard_normal(shape))
        wide = np.where(self.rng.random(shape) < 0.05, 0, np.clip(wide, -60_000, 60_000))
        return wide.astype(np.float16).view(np.uint16)

    def fill(self, slots: Any, vector: int) -> None:
        """Put vectors of so many bytes into the interpreter's entries."""
        raise NotImplementedError

    def brought(self, entry: int, at: int) -> dict[str, int]:
        """Return what comes of a line of an entry: kind of stream -> payload."""
        return {"lines": int.from_bytes(self.vectors[entry, at].tobytes(), "little")}

    def look(self, context: Any) -> None:
        """Look at what is no stream, in every cycle."""

    def expect(self) -> list[bool]:
        """Run the interpreter; return for each instruction whether it fails."""
        failing = []
        for one, rows in self.issued:
            self.state.registers[Register.ROWS] = rows
            before = self.state.scratchpad.copy(), self.state.statistics.copy()
            try:
                if not one["plane"] or len(self.state.selected(one["plane"])):
                    getattr(self.golden, self.name)(one)
                failing.append(False)
            except MachineError:
                # The unit finds out before it writes.
                self.state.scratchpad[:], self.state.statistics[:] = before
                failing.append(True)
        return failing

    def run(self, max_cycles: int = 20_000, *, faults: dict[int, int] | None = None) -> int:
        """Run the unit and compare with the interpreter; return the cycles that it took.

        faults: instructions by the cycle in which ``memory_error`` is set, which must fail.
        """
        self._connect()
        cycles = self._simulate(max_cycles, faults or {})
        failing = self.expect()
        for index in (faults or {}).values():
            failing[index] = True
        assert [bool(error) for error, _ in self.done] == failing
        assert [index for _, index in self.done] == list(range(len(self.issued)))
        np.testing.assert_array_equal(self.pad, self.state.scratchpad)
        np.testing.assert_array_equal(self.words, self.state.statistics)
        for name, end in self.ends.items():
            assert not isinstance(end, Source) or not end.queue, f"{name} was not taken"
        assert not self.array.tiles
        assert not self.array.filling
        return cycles - DRAIN_CYCLES

    def stacked(self, name: str) -> Any:
        """Return all payloads of a stream as `hwroute.sim.payloads.pack` takes them."""
        end = self.ends[name]
        shape = end.port.payload.shape()

        def joined(values: list[Any]) -> Any:
            if isinstance(values[0], dict):
                return {part: joined([one[part] for one in values]) for part in values[0]}
            return np.array(values)

        return joined([value_of(shape, payload) for payload in end.payloads])

    def _simulate(self, max_cycles: int, faults: dict[int, int]) -> int:
        cycles = 0

        async def process(context: Any) -> None:
            nonlocal cycles
            context.set(self.unit.entries, len(self.kv.tokens))
            context.set(self.unit.vector_lines, self.vector_lines)
            left = DRAIN_CYCLES
            while left:
                if faults:
                    context.set(self.unit.memory_error, cycles in faults)
                for end in self.ends.values():
                    end.drive(context, cycles)
                for end in self.ends.values():
                    end.look(context, cycles)
                self.look(context)
                await context.tick()
                cycles += 1
                assert cycles < max_cycles, "the unit hangs"
                left -= len(self.done) >= len(self.issued)

        simulator = Simulator(self.unit)
        simulator.add_clock(1e-6)
        simulator.add_testbench(process)
        self.pad = self.state.scratchpad.copy()
        self.words = self.state.statistics.copy()
        simulator.run()
        return cycles

    def _connect(self) -> None:
        """Put models at the ports."""
        unit = self.unit
        self.ends: dict[str, Source | Sink] = {}
        self.done: list[tuple[int, int]] = []
        self._source("issue", unit.issue)
        for index, (one, rows) in enumerate(self.issued):
            word = [one.encode() >> 64 * part & (1 << 64) - 1 for part in range(4)]
            values = {"index": index, "position": self.position, "rows": rows, "value": 0}
            payload = {"word": np.array(word, np.uint64)} | values
            self._give("issue", 0, integer(ISSUED, payload))
        self._sink("done", unit.done, lambda done, _: self.done.append((done & 1, done >> 1)))
        self._source("read_rows", unit.list.rows)
        self._sink("ask_rows", unit.list.request, self._list)
        for name in ("x", "y"):
            port = getattr(unit, f"read_{name}")
            self._source(f"read_{name}", port.response)
            self._sink(f"ask_{name}", port.request, self._read_of(f"read_{name}"))
        self._sink("write", unit.write.request, self._write)
        self.to_write: deque[int] = deque()
        self._sink("vector", unit.statistics_write.request, self._vector)
        self._sink("word", unit.statistics_write.values, self._word, lambda _: bool(self.to_write))
        self._source("batches", unit.batches)
        for source in range(self.sources):
            for kind in self.kinds:
                self._source(f"{kind}_{source}", getattr(unit, f"{kind}_{source}"))
        self._sink("sweep", unit.sweep, self._sweep)
        self._source("o", unit.o)
        self.array = self.array_model(
            self.config, lambda row, cycle: self._give("o", cycle, row), self.rng
        )
        self._sink("kv", unit.kv, self.array.take_kv, self.array.has_room)
        self._sink("x", unit.x, self.array.take_beat, self.array.can_start)

    def _source(self, name: str, port: Any) -> None:
        self.ends[name] = Source(port, Random(self.random.random()), self.stall)

    def _sink(self, name: str, port: Any, *calls: Any) -> None:
        self.ends[name] = Sink(port, Random(self.random.random()), self.stall, *calls)

    def _give(self, name: str, due: int, payload: int) -> None:
        """Let a source offer a payload from a cycle on."""
        end = self.ends[name]
        assert isinstance(end, Source)
        end.queue.append((due, payload))

    def _list(self, payload: int, cycle: int) -> None:
        plane, count = payload & 7, min(payload >> 3, self.config.array.accumulator_rows)
        held = np.flatnonzero(self.state.planes[plane, :count]) if plane else np.arange(count)
        rows = held.tolist()
        listed = [{"row": row, "last": row == rows[-1], "empty": 0} for row in rows]
        for one in listed or [{"row": 0, "last": 1, "empty": 1}]:
            self._give("read_rows", cycle + 2, integer(ROW, one))

    def _read_of(self, name: str) -> Callable[[int, int], None]:
        def take(payload: int, cycle: int) -> None:
            data = int.from_bytes(self.pad[payload].tobytes(), "little")
            self._give(name, cycle + SCRATCHPAD_READ_CYCLES, data)

        return take

    def _write(self, payload: int, _cycle: int) -> None:
        line, mask = payload & (1 << 32) - 1, payload >> 32 + 1024
        data = (payload >> 32 & (1 << 1024) - 1).to_bytes(128, "little")
        chosen = np.array([mask >> lane & 1 for lane in range(64)], np.bool_)
        self.pad[line, chosen] = np.frombuffer(data, np.uint16)[chosen]

    def _numbers(self, payload: int) -> list[int]:
        """Return the words of the statistics that a vector has."""
        vector = {name: int(value) for name, value in value_of(VECTOR, payload).items()}
        assert vector["values"]
        assert vector["pitch"] < 1 << PITCH.bits
        return [vector["first"] + k * vector["pitch"] for k in range(vector["values"])]

    def _vector(self, payload: int, _cycle: int) -> None:
        self.to_write.extend(self._numbers(payload))

    def _word(self, payload: int, _cycle: int) -> None:
        self.words[self.to_write.popleft()] = payload

    def _sweep(self, payload: int, cycle: int) -> None:
        """Send the entries in batches, each in any of its possible sources."""
        sweep = {name: int(value) for name, value in value_of(SWEEP, payload).items()}
        self.sweeps.append(sweep)
        assert sweep["value"] == (self.name == "values")
        wanted = range(sweep["line"], sweep["line"] + sweep["lines"])
        assert wanted.stop <= self.vector_lines
        entry, count = 0, len(self.kv.tokens)
        due = cycle + self.latency
        while True:
            size = min(int(self.rng.integers(1, self.batch + 1)), count - entry)
            chosen = self.rng.permutation(self.sources)[:size]
            fields = {
                "valid": np.zeros(self.sources, np.int64),
                "index": self.rng.integers(0, self.sources, self.sources),
                "token": self.rng.integers(0, 256, self.sources),
            }
            for index, source in enumerate(chosen.tolist()):
                fields["valid"][source] = 1
                fields["index"][source] = index
                fields["token"][source] = self.kv.tokens[entry + index]
                for at in wanted:
                    for kind, value in self.brought(entry + index, at).items():
                        self._give(f"{kind}_{source}", due, value)
            entry += size
            batch = {"sources": fields, "count": size, "last": int(entry == count)}
            self._give("batches", due, integer(batch_layout(self.config), batch))
            if entry == count:
                return


def outputs_of_array(bench: AttentionBench, folder: Path) -> tuple[Any, Any]:
    """Give the real array what a unit sent to its model; return what each of them sent."""
    nothing = {
        "weights": np.zeros((1, bench.config.array.columns, LANES), np.int8),
        "scales": np.zeros((1, bench.config.array.columns), np.uint16),
    }
    inputs = {"x": bench.stacked("x"), "w": nothing, "kv": bench.stacked("kv")}
    simulation = UnitSimulation(PEArray(bench.config), folder=build_dir())
    expected = bench.stacked("o")
    run = simulation.run(inputs, {"o": len(expected["slot"])}, folder=folder)
    return run.outputs["o"], expected
