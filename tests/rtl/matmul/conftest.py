"""The matmul unit among models of memories and array, against the interpreter."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

import numpy as np
import pytest
from amaranth.sim import Simulator

from hwroute.config import PRESETS, ArrayConfig, Config, Numerics, Variant
from hwroute.isa.fields import BEAT_BYTES, Register
from hwroute.isa.instruction import Instruction
from hwroute.models.image import Image
from hwroute.models.interpreter.array import Array
from hwroute.models.interpreter.kv import KVUnit
from hwroute.models.interpreter.state import MachineError, State
from hwroute.models.ops.columns import columns_of
from hwroute.rtl.array_layouts import o_payload, w_payload, x_payload
from hwroute.rtl.column_ports import WEIGHT_ROWS
from hwroute.rtl.issue_layouts import ISSUED
from hwroute.rtl.matmul import MatmulControl
from hwroute.rtl.row_list_layouts import ROW
from hwroute.timing import ARRAY_BEAT_DISTANCE, SCRATCHPAD_READ_CYCLES, array_cycles
from tests.rtl.stream_ends import Sink, Source, integer, value_of

DEMO = PRESETS["demo"]
LINES = 512


def config_of(
    columns: int,
    ports: int,
    *,
    beat_bits: int = 256,
    rows: int = 16,
    variant: Variant = Variant.ALIGNED,
    group: int = 128,
) -> Config:
    """Return a configuration with small memories."""
    return Config(
        name="small",
        numerics=Numerics(variant=variant, group=group),
        array=ArrayConfig(columns=columns, kv_vectors=2, accumulator_rows=rows),
        kv=replace(DEMO.kv, hbm_ports=ports, beat_bits=beat_bits),
        memory=replace(
            DEMO.memory,
            scratchpad_bytes=LINES * 128,
            hbm_port_bytes=2048 * BEAT_BYTES,
            ddr_bytes=512 * 128,
        ),
    )


class BeatSink(Sink):
    """Takes what is offered when `can_start` it, by payload and cycle."""

    def __init__(
        self,
        port: Any,
        random: Random,
        stall: float,
        take: Callable[[int, int], None],
        can_start: Callable[[int, int], bool],
    ):
        super().__init__(port, random, stall, take)
        self.can_start = can_start

    def _takes(self, context: Any, cycle: int) -> bool:
        offered = context.get(self.port.valid)
        return not offered or self.can_start(int(context.get(self.payload)), cycle)


@dataclass
class ArrayModel:
    """The PE array by the golden operators, as fast as the real one.

    Members: every tile of weights and beat of x that it took, every row that it sent.
    """

    config: Config
    send: Callable[[int, int], None]
    tiles: list[Any] = field(default_factory=list)
    beats: list[Any] = field(default_factory=list)
    rows: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.columns = columns_of(self.config.numerics)
        self.latency = array_cycles(aligned=self.config.numerics.variant is Variant.ALIGNED)
        self.waiting: deque[Any] = deque()
        self.sums: dict[int, Any] = {}
        self.busy: dict[int, int] = {}

    def take_tile(self, payload: int, cycle: int) -> None:
        tile = value_of(w_payload(self.config), payload)
        self.tiles.append(tile)
        scales = tile["scales"].astype(np.uint16)[:, None]
        prepared = self.columns.prepare(tile["weights"].astype(np.int8), scales)
        self.waiting.append((cycle, prepared))

    def room(self, _cycle: int) -> bool:
        return len(self.waiting) < WEIGHT_ROWS

    def can_start(self, payload: int, cycle: int) -> bool:
        beat = value_of(x_payload(self.config), payload)
        free = beat["first"] or self.busy.get(int(beat["slot"]), 0) <= cycle
        return bool(self.waiting) and self.waiting[0][0] < cycle and bool(free)

    def take_beat(self, payload: int, cycle: int) -> None:
        beat = value_of(x_payload(self.config), payload)
        self.beats.append(beat)
        slot = int(beat["slot"])
        start = None if beat["first"] else self.sums[slot]
        x = beat["lanes"].astype(np.uint16)[None]
        self.sums[slot] = self.columns.matmul(x, self.waiting[0][1], start)
        self.busy[slot] = cycle + ARRAY_BEAT_DISTANCE
        if not beat["hold"]:
            self.waiting.popleft()
        if beat["last"]:
            row = {"columns": self.sums[slot][0].view(np.uint32), "slot": slot}
            self.rows.append(row)
            self.send(integer(o_payload(self.config), row), cycle + self.latency)


class Bench:
    """A unit, its surroundings, and the interpreter's state.

    stall: chance that a source idles and that a sink is not ready, in a cycle. latency: of the
    memories, in cycles. bad, bad_lines: beats of HBM and lines of DDR that cannot be read.
    """

    def __init__(self, config: Config, *, seed: int, stall: float = 0.0, latency: int = 20):
        self.config, self.stall, self.latency = config, stall, latency
        self.rng = np.random.default_rng(seed)
        self.random = Random(seed)
        memory = config.memory
        shape = (config.kv.hbm_ports, memory.hbm_port_bytes // BEAT_BYTES, BEAT_BYTES)
        hbm = self.rng.integers(0, 256, shape).astype(np.uint8)
        ddr = self.spread((memory.ddr_bytes // 128, 64), 0.5).view(np.uint8)
        image = Image(hbm=hbm, ddr=ddr, program="", model="")
        self.state = State(config, image, config.array.accumulator_rows)
        self.state.scratchpad[:] = self.spread((LINES, 64))
        self.state.planes[:] = self.rng.random(self.state.planes.shape) < 0.5
        self.state.planes[1] = False
        self.state.planes[2] = False
        self.state.planes[2, 0] = True
        self.golden = Array(self.state, KVUnit(self.state))
        self.bad: set[int] = set()
        self.bad_lines: set[int] = set()
        self.issued: list[tuple[Instruction, int]] = []
        self.unit: Any = MatmulControl(config)

    def spread(self, shape: Any, sigma: float = 1.0) -> Any:
        """FP16 with outliers."""
        wide = self.rng.standard_normal(shape) * np.exp2(sigma * self.rng.standard_normal(shape))
        return wide.astype(np.float16).view(np.uint16)

    def add(self, rows: int, **fields: int) -> None:
        """Add an instruction, for a tile of `rows`; it begins and ends its sums by default."""
        values = {"first": 1, "last": 1, "lines": 1, "columns": 1} | fields
        self.issued.append((Instruction("matmul", values), rows))

    def expect(self) -> list[tuple[bool, bool]]:
        """Run the interpreter; return for each instruction whether it fails and saturates."""
        results = []
        for one, rows in self.issued:
            self.state.registers[Register.ROWS] = rows
            self.state.overflowed = False
            try:
                if not one["plane"] or len(self.state.selected(one["plane"])):
                    self.golden.matmul(one)
                results.append((False, self.state.overflowed))
            except MachineError:
                results.append((True, False))
        return results

    def run(self, max_cycles: int = 40_000) -> int:
        """Run the unit and compare with the interpreter; return the cycles that it took."""
        self._connect()
        overflows: list[bool] = []
        cycles = 0

        async def process(context: Any) -> None:
            nonlocal cycles
            left, saturated = 20, False
            while left:
                for end in self.ends.values():
                    end.drive(context, cycles)
                for end in self.ends.values():
                    end.look(context, cycles)
                if len(self.done) > len(overflows):
                    overflows.append(saturated)
                    saturated = False
                await context.tick()
                saturated = saturated or bool(context.get(self.unit.overflow))
                cycles += 1
                assert cycles < max_cycles, "the unit hangs"
                left -= len(self.done) >= len(self.issued)

        simulator = Simulator(self.unit)
        simulator.add_clock(1e-6)
        simulator.add_testbench(process)
        self.pad = self.state.scratchpad.copy()
        simulator.run()
        expected = self.expect()
        failing = [failed for failed, _ in expected]
        if not self.bad and not self.bad_lines:
            assert [bool(error) for error, _ in self.done] == failing
        assert [index for _, index in self.done] == list(range(len(self.issued)))
        self.saturated = overflows
        assert overflows == [saturates for _, saturates in expected]
        np.testing.assert_array_equal(self.pad, self.state.scratchpad)
        assert not any(isinstance(end, Source) and end.queue for end in self.ends.values())
        return cycles - 20

    def _connect(self) -> None:
        """Put models at the ports."""
        unit = self.unit
        self.ends: dict[str, Source | Sink] = {}
        self.done: list[tuple[int, int]] = []
        self._source("issue", unit.issue)
        for index, (one, rows) in enumerate(self.issued):
            word = [one.encode() >> 64 * part & (1 << 64) - 1 for part in range(4)]
            values = {"index": index, "position": 7, "rows": rows, "value": 0}
            payload = {"word": np.array(word, np.uint64)} | values
            self._source_of("issue").queue.append((0, integer(ISSUED, payload)))
        self._sink("done", unit.done, lambda done, _: self.done.append((done & 1, done >> 1)))
        self._source("rows", unit.list.rows)
        self._sink("list", unit.list.request, self._list)
        for port in range(self.config.kv.hbm_ports):
            self._source(f"beats_{port}", getattr(unit, f"weight_beats_{port}"))
            request = getattr(unit, f"weight_request_{port}")
            self._sink(f"request_{port}", request, self._weights_of(port))
        self._source("scales", unit.scale_beats)
        self._sink("scale_request", unit.scale_request, self._scales)
        for name in ("x", "bias"):
            port = getattr(unit, f"read_{name}")
            self._source(f"read_{name}", port.response)
            self._sink(f"ask_{name}", port.request, self._read_of(f"read_{name}"))
        self._sink("write", unit.write.request, self._write)
        self._source("o", unit.o)
        send = self._source_of("o").queue
        self.array = ArrayModel(self.config, lambda row, cycle: send.append((cycle, row)))
        self._sink("w", unit.w, self.array.take_tile, self.array.room)
        can_start = self.array.can_start
        self.ends["x"] = BeatSink(
            unit.x, self._seeded(), self.stall, self.array.take_beat, can_start
        )

    def _seeded(self) -> Random:
        return Random(self.random.random())

    def _source(self, name: str, port: Any) -> None:
        self.ends[name] = Source(port, self._seeded(), self.stall)

    def _sink(self, name: str, port: Any, *calls: Any) -> None:
        self.ends[name] = Sink(port, self._seeded(), self.stall, *calls)

    def _source_of(self, name: str) -> Source:
        end = self.ends[name]
        assert isinstance(end, Source)
        return end

    def _list(self, payload: int, cycle: int) -> None:
        plane, count = payload & 7, min(payload >> 3, self.config.array.accumulator_rows)
        held = np.flatnonzero(self.state.planes[plane, :count]) if plane else np.arange(count)
        rows = held.tolist()
        listed = [{"row": row, "last": row == rows[-1], "empty": 0} for row in rows]
        for one in listed or [{"row": 0, "last": 1, "empty": 1}]:
            self._source_of("rows").queue.append((cycle + 2, integer(ROW, one)))

    def _weights_of(self, port: int) -> Callable[[int, int], None]:
        pairing = self.config.kv.beat_bits // 256

        def take(payload: int, cycle: int) -> None:
            first, count = payload & (1 << 32) - 1, payload >> 32
            assert 0 < count <= self.state.hbm.shape[1] - first, "beats outside the port"
            for beat in range(first, first + count, pairing):
                end = min(beat + pairing, first + count)
                data = int.from_bytes(self.state.hbm[port, beat:end].tobytes(), "little")
                wrong = port == 1 and bool(self.bad & {*range(beat, end)})
                self._answer(
                    f"beats_{port}", 256 * pairing, data, wrong, end == first + count, cycle
                )

        return take

    def _scales(self, payload: int, cycle: int) -> None:
        first, count = payload & (1 << 32) - 1, payload >> 32
        halves = self.state.ddr.reshape(-1, 32)
        assert 0 < count <= len(halves) - first, "lines outside DDR"
        for beat in range(first, first + count):
            data = int.from_bytes(halves[beat].tobytes(), "little")
            last = beat == first + count - 1
            self._answer("scales", 512, data, beat // 2 in self.bad_lines, last, cycle)

    def _answer(
        self, name: str, width: int, data: int, error: bool, last: bool, cycle: int
    ) -> None:
        payload = data | error << width | last << width + 1
        self._source_of(name).queue.append((cycle + self.latency, payload))

    def _read_of(self, name: str) -> Callable[[int, int], None]:
        def take(payload: int, cycle: int) -> None:
            data = int.from_bytes(self.pad[payload].tobytes(), "little")
            self._source_of(name).queue.append((cycle + SCRATCHPAD_READ_CYCLES, data))

        return take

    def _write(self, payload: int, _cycle: int) -> None:
        line, mask = payload & (1 << 32) - 1, payload >> 32 + 1024
        data = (payload >> 32 & (1 << 1024) - 1).to_bytes(128, "little")
        chosen = np.array([mask >> lane & 1 for lane in range(64)], np.bool_)
        self.pad[line, chosen] = np.frombuffer(data, np.uint16)[chosen]


@pytest.fixture
def bench() -> type[Bench]:
    return Bench


@pytest.fixture
def small() -> Callable[..., Config]:
    return config_of
