"""The scores unit among models of memories, KV unit and array, against the interpreter."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Value
from amaranth.sim import Simulator

from hwroute.config import PRESETS, Config
from hwroute.isa.fields import Register
from hwroute.isa.instruction import Instruction
from hwroute.isa.parts import PITCH
from hwroute.models.image import Image
from hwroute.models.interpreter.array import Array
from hwroute.models.interpreter.kv import KVUnit
from hwroute.models.interpreter.state import MachineError, State
from hwroute.models.ops.columns import columns_of
from hwroute.rtl.array_layouts import Mode, o_payload, x_payload
from hwroute.rtl.attention_layouts import SWEEP, batch_layout, source_count
from hwroute.rtl.column_ports import ColumnShape
from hwroute.rtl.issue_layouts import ISSUED
from hwroute.rtl.kernel_loader import kernel_payload
from hwroute.rtl.row_list_layouts import ROW
from hwroute.rtl.scores import ScoresControl
from hwroute.rtl.softmax import NO_MAXIMUM
from hwroute.rtl.statistics_layouts import VECTOR
from hwroute.sim.payloads import pack, unpack, width_of
from hwroute.timing import SCRATCHPAD_READ_CYCLES, array_cycles

DEMO = PRESETS["demo"]
LINES = 1024


def small(**array: int) -> Config:
    """Return the demo configuration with a scratchpad of `LINES`, and another array."""
    memory = replace(DEMO.memory, scratchpad_bytes=LINES * 128, statistics=1024)
    return replace(DEMO, memory=memory, array=replace(DEMO.array, **array))


def integer(shape: Any, value: Any) -> int:
    """Return one payload as an integer; value: as `hwroute.sim.payloads.pack` takes one."""

    def batched(one: Any) -> Any:
        if isinstance(one, dict):
            return {name: batched(part) for name, part in one.items()}
        return np.asarray(one)[None]

    return int.from_bytes(pack(shape, batched(value)).tobytes(), "little")


def value_of(shape: Any, payload: int) -> Any:
    """Return an integer payload as `hwroute.sim.payloads.unpack` does, without the first axis."""

    def single(one: Any) -> Any:
        if isinstance(one, dict):
            return {name: single(part) for name, part in one.items()}
        return one[0]

    octets = (width_of(shape) + 7) // 8
    raw = np.frombuffer(payload.to_bytes(octets, "little"), np.uint8)
    return single(unpack(shape, raw[None]))


class Source:
    """Offers payloads to a stream, each from a cycle on, idling at random."""

    def __init__(self, port: Any, random: Random, stall: float):
        self.port, self.random, self.stall = port, random, stall
        self.queue: deque[tuple[int, int]] = deque()
        self.payloads: list[int] = []
        self.cycles: list[int] = []
        self.offers = False

    def drive(self, context: Any, cycle: int) -> None:
        due = self.queue and self.queue[0][0] <= cycle
        if not self.offers and due and self.random.random() >= self.stall:
            self.offers = True
            context.set(Value.cast(self.port.payload), self.queue[0][1])
        context.set(self.port.valid, self.offers)

    def look(self, context: Any, cycle: int) -> None:
        if self.offers and context.get(self.port.ready):
            self.payloads.append(self.queue.popleft()[1])
            self.cycles.append(cycle)
            self.offers = False


class Sink:
    """Gives payloads of a stream to `take`, with the cycle; at random, or by `may`, not ready."""

    def __init__(
        self,
        port: Any,
        random: Random,
        stall: float,
        take: Callable[[int, int], None],
        may: Callable[[int], bool] = lambda _cycle: True,
    ):
        self.port, self.random, self.stall = port, random, stall
        self.take, self.may = take, may
        self.payloads: list[int] = []
        self.cycles: list[int] = []
        self.ready = False
        self.waits: int | None = None

    def drive(self, context: Any, cycle: int) -> None:
        self.ready = self.random.random() >= self.stall and self.may(cycle)
        context.set(self.port.ready, self.ready)

    def look(self, context: Any, cycle: int) -> None:
        if not context.get(self.port.valid):
            assert self.waits is None, "valid withdrawn before ready"
            return
        payload = int(context.get(Value.cast(self.port.payload)))
        assert self.waits in (None, payload), "payload changed before ready"
        self.waits = None if self.ready else payload
        if self.ready:
            self.payloads.append(payload)
            self.cycles.append(cycle)
            self.take(payload, cycle)


@dataclass
class ArrayModel:
    """The PE array by the golden operators: tiles of K, beats of queries, rows.

    filled: of each row sent, the columns that the unit gave a vector.
    """

    config: Config
    send: Callable[[int, int], None]
    rng: np.random.Generator
    beats: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.shape = ColumnShape.of(self.config)
        self.columns = columns_of(self.config.numerics)
        self.tiles: deque[tuple[int, Any, int]] = deque()
        self.filling: list[Any] = []
        self.sums: dict[int, Any] = {}
        self.filled: list[int] = []

    def take_kv(self, payload: int, cycle: int) -> None:
        beat = value_of(kernel_payload(self.shape), payload)
        assert not beat["values"], "V instead of K"
        self.filling += list(beat["vectors"].astype(np.uint16))
        if beat["last"] or len(self.filling) == self.shape.fp16_columns:
            # Columns that nothing was written to hold what they held.
            tile = self.rng.integers(0, 0x7C00, (self.shape.fp16_columns, 64)).astype(np.uint16)
            tile[: len(self.filling)] = self.filling
            self.tiles.append((cycle + 1, tile, len(self.filling)))
            self.filling = []

    def has_room(self, _cycle: int) -> bool:
        return len(self.tiles) < self.shape.tiles

    def can_start(self, cycle: int) -> bool:
        return bool(self.tiles) and self.tiles[0][0] < cycle

    def take_beat(self, payload: int, cycle: int) -> None:
        beat = value_of(x_payload(self.config), payload)
        self.beats.append((cycle, beat))
        assert beat["mode"] == Mode.SCORES.value
        slot, (_, tile, filled) = int(beat["slot"]), self.tiles[0]
        q = beat["lanes"].astype(np.uint16)
        product = self.columns.scores(q[None, None], tile[None])[0, 0]
        self.sums[slot] = product if beat["first"] else self.sums[slot] + product
        if not beat["hold"]:
            self.tiles.popleft()
        if beat["last"]:
            self.filled.append(filled)
            columns = self.rng.integers(0, 1 << 32, self.config.array.columns)
            columns[: len(product)] = self.sums.pop(slot).view(np.uint32)
            row = integer(o_payload(self.config), {"columns": columns, "slot": slot})
            self.send(row, cycle + array_cycles(aligned=True))


class Bench:
    """The unit, its surroundings, and the interpreter's state.

    Parameters: tokens, of the entries in order; vector_lines, of a K vector; position, of the
    tile; stall, chance that a stream idles in a cycle; batch, most entries of a batch; sigma, of
    the logarithm of elements of K.
    """

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
        self.k = self.spread((len(tokens), vector_lines, 64), sigma)
        self.exponents = self.rng.integers(0, 31, (len(tokens), vector_lines)).astype(np.uint8)
        map_fields = {"vector": 4 * vector_lines, "exponents": 1}
        self.kv._map = Instruction("kv.map", map_fields)
        slots = np.zeros((len(tokens), (2 * 4 * vector_lines + 1) * 32), np.uint8)
        if len(tokens):
            end = 128 * vector_lines
            slots[:, :end] = self.k.view(np.uint8).reshape(len(tokens), -1)
            slots[:, end : end + vector_lines] = self.exponents
        self.kv._entries = slots
        self.vector_lines = vector_lines
        self.golden = Array(self.state, self.kv)
        self.issued: list[tuple[Instruction, int]] = []
        self.sweeps: list[Any] = []
        self.unit: Any = ScoresControl(config)

    def spread(self, shape: Any, sigma: float = 1.0) -> Any:
        """FP16 with outliers, some of them zero."""
        wide = self.rng.standard_normal(shape) * np.exp2(sigma * self.rng.standard_normal(shape))
        wide = np.where(self.rng.random(shape) < 0.05, 0, np.clip(wide, -60_000, 60_000))
        return wide.astype(np.float16).view(np.uint16)

    def add(self, rows: int, **fields: int) -> None:
        """Add an instruction for a tile of `rows`."""
        number = len(self.issued)
        heads, lines = fields.get("heads", 1), fields.get("head_lines", 1)
        values = {
            "heads": 1,
            "queries": 1,
            "head_lines": 1,
            "pitch": 16,
            "q": 8 + number % 4,
            "q_pitch": heads * lines,
            "k": 300 + number % 4,
            "out": 512 + 128 * (number % 4),
            "out_pitch": -(-(len(self.kv.tokens) + 1) // 64),
            "maximum": 200 * (number % 4),
        }
        self.issued.append((Instruction("scores", values | fields), rows))

    def expect(self) -> list[bool]:
        """Run the interpreter; return for each instruction whether it fails."""
        failing = []
        for one, rows in self.issued:
            self.state.registers[Register.ROWS] = rows
            before = self.state.scratchpad.copy(), self.state.statistics.copy()
            try:
                if not one["plane"] or len(self.state.selected(one["plane"])):
                    self.golden.scores(one)
                failing.append(False)
            except MachineError:
                # The unit finds out before it writes.
                self.state.scratchpad[:], self.state.statistics[:] = before
                failing.append(True)
        # Where a row attends to nothing the operator's maximum is another one.
        nothing = np.int64(-(1 << 20)) & 0xFFFF_FFFF
        self.state.statistics[self.state.statistics == nothing] = NO_MAXIMUM & 0xFFFF_FFFF
        return failing

    def run(self, max_cycles: int = 20_000, *, faults: dict[int, int] | None = None) -> int:
        """Run the unit and compare with the interpreter; return the cycles that it took.

        faults: instructions by the cycle in which ``memory_error`` is set, which must fail.
        """
        self._connect()
        cycles, self.overflowed = 0, False

        async def process(context: Any) -> None:
            nonlocal cycles
            context.set(self.unit.entries, len(self.kv.tokens))
            context.set(self.unit.vector_lines, self.vector_lines)
            left = 20
            while left:
                context.set(self.unit.memory_error, cycles in (faults or {}))
                for end in self.ends.values():
                    end.drive(context, cycles)
                for end in self.ends.values():
                    end.look(context, cycles)
                self.overflowed |= bool(context.get(self.unit.overflow))
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
        failing = self.expect()
        for index in (faults or {}).values():
            failing[index] = True
        assert [bool(error) for error, _ in self.done] == failing
        assert [index for _, index in self.done] == list(range(len(self.issued)))
        np.testing.assert_array_equal(self.pad, self.state.scratchpad)
        np.testing.assert_array_equal(self.words, self.state.statistics)
        assert self.overflowed == bool(self.state.overflowed)
        for name, end in self.ends.items():
            assert not isinstance(end, Source) or not end.queue, f"{name} was not taken"
        assert not self.array.tiles
        assert not self.array.filling
        return cycles - 20

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
            self._source_of("issue").queue.append((0, integer(ISSUED, payload)))
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
            for kind in ("lines", "exponents"):
                self._source(f"{kind}_{source}", getattr(unit, f"{kind}_{source}"))
        self._sink("sweep", unit.sweep, self._sweep)
        self._source("o", unit.o)
        send = self._source_of("o").queue
        self.array = ArrayModel(self.config, lambda row, cycle: send.append((cycle, row)), self.rng)
        self._sink("kv", unit.kv, self.array.take_kv, self.array.has_room)
        self._sink("x", unit.x, self.array.take_beat, self.array.can_start)

    def stacked(self, name: str) -> Any:
        """Return all payloads of a stream as `hwroute.sim.payloads.pack` takes them."""
        end = self.ends[name]
        shape = end.port.payload.shape()

        def joined(values: list[Any]) -> Any:
            if isinstance(values[0], dict):
                return {part: joined([one[part] for one in values]) for part in values[0]}
            return np.array(values)

        return joined([value_of(shape, payload) for payload in end.payloads])

    def _source(self, name: str, port: Any) -> None:
        self.ends[name] = Source(port, Random(self.random.random()), self.stall)

    def _sink(self, name: str, port: Any, *calls: Any) -> None:
        self.ends[name] = Sink(port, Random(self.random.random()), self.stall, *calls)

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
            self._source_of("read_rows").queue.append((cycle + 2, integer(ROW, one)))

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

    def _numbers(self, payload: int) -> list[int]:
        vector = value_of(VECTOR, payload)
        assert vector["values"]
        assert vector["pitch"] < 1 << PITCH.bits
        return [
            int(vector["first"]) + k * int(vector["pitch"]) for k in range(int(vector["values"]))
        ]

    def _vector(self, payload: int, _cycle: int) -> None:
        self.to_write.extend(self._numbers(payload))

    def _word(self, payload: int, _cycle: int) -> None:
        self.words[self.to_write.popleft()] = payload

    def _sweep(self, payload: int, cycle: int) -> None:
        """Send the entries in batches, each in any of its possible sources."""
        sweep = {name: int(value) for name, value in value_of(SWEEP, payload).items()}
        self.sweeps.append(sweep)
        assert not sweep["value"]
        line, lines = sweep["line"], sweep["lines"]
        assert line + lines <= self.vector_lines
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
                for at in range(line, line + lines):
                    value = int.from_bytes(self.k[entry + index, at].tobytes(), "little")
                    self._source_of(f"lines_{source}").queue.append((due, value))
                    exponent = int(self.exponents[entry + index, at])
                    self._source_of(f"exponents_{source}").queue.append((due, exponent))
            entry += size
            last = entry == count
            batch = {"sources": fields, "count": size, "last": int(last)}
            payload = integer(batch_layout(self.config), batch)
            self._source_of("batches").queue.append((due, payload))
            if last:
                return


@pytest.fixture
def bench() -> type[Bench]:
    return Bench


@pytest.fixture
def config_of() -> Callable[..., Config]:
    return small
