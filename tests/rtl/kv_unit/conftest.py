"""KVUnit among models of memories, row lists and the array, and the interpreter beside it."""

from collections import Counter, defaultdict, deque
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from random import Random
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from amaranth.sim import Simulator

from hwroute.config import PRESETS, Config
from hwroute.isa.fields import LINE_ELEMENTS, Register
from hwroute.isa.instruction import Instruction
from hwroute.models.interpreter.kv import FIELD
from hwroute.models.interpreter.kv import KVUnit as Interpreter
from hwroute.models.interpreter.state import State
from hwroute.rtl.attention_layouts import source_count
from hwroute.rtl.kv_unit import KVUnit
from hwroute.timing import ROW_LIST_CYCLES, SCRATCHPAD_READ_CYCLES
from tests.rtl.kv_unit.models import PLANE, Expected, Giver, Issue, Port, Sweep, Taker

DEMO = PRESETS["demo"]
HUNG_CYCLES = 2000
"""So many are too many while something is to come."""
QUIET_CYCLES = 40
"""After so many in which nothing is handed over, nothing will be."""
SCRATCHPAD_LINES = DEMO.memory.scratchpad_bytes // (2 * LINE_ELEMENTS)


class Bench:
    """Run instructions and sweeps on the unit and on the interpreter, and compare.

    An instruction waits for the end of the one before, kv.map and kv.order for sweeps too. One that
    fails is not run on the interpreter.

    memory: latency of HBM in cycles. answers: those of writes come in cycles from a multiple of it
    on, from all ports at once.
    """

    def __init__(
        self,
        config: Config,
        *,
        stall: float = 0.0,
        memory: int = 5,
        answers: int = 1,
        seed: int = 1,
    ):
        self.config, self.memory, self.answers = config, memory, answers
        self.random = Random(seed)
        self.unit = KVUnit(config)
        self.sources = range(source_count(config))
        self.stall = stall
        rng = np.random.default_rng(seed)
        self.state = _state(config, rng)
        self.golden = Interpreter(self.state)
        paired = config.kv.beat_bits == 512
        self.ports = [Port(part.copy(), paired) for part in self.state.hbm]
        self.cycle = 0
        self.errors = 0
        self.events = np.zeros(2, int)
        self.expected_events = np.zeros(2, int)
        self.givers: dict[str, Giver] = {}
        self.takers: dict[str, Taker] = {}
        self.done: list[tuple[int, int]] = []
        self.brought: dict[str, deque[Any]] = defaultdict(deque)
        self._refused = self._quiet = 0
        self._since_order: list[Sweep] = []
        self._expected: deque[Expected] = deque()
        self._ended: deque[list[tuple[int, int]]] = deque()
        self._entries: list[tuple[int, int]] = []
        self._connect()

    def _connect(self) -> None:
        """Put models to all streams."""
        for name in ("issue", "sweep"):
            self._give(name)
        self._take("done", lambda done: self.done.append((int(done.index), int(done.error))))
        self._take("batches", self._take_batch)
        for name in ("k", "v"):
            port = getattr(self.unit, f"read_{name}")
            self._give(f"{name}.response", port.response)
            self._take(f"{name}.request", partial(self._read_line, name), port.request)
        self._give("rows", self.unit.rows.rows)
        self._take("list", self._list_rows, self.unit.rows.request)
        for source in self.sources:
            for name in (f"lines_{source}", f"exponents_{source}"):
                self._take(name, self.brought[name].append)
        for number, port in enumerate(self.ports):
            self._give(f"beats_{number}")
            self._give(f"answer_{number}")
            self._take(f"read_{number}", partial(self._read_hbm, number))
            self._take(f"write_{number}", partial(self._ask_hbm, port))
            self._take(f"data_{number}", partial(self._data_hbm, port))

    def _give(self, name: str, port: Any = None) -> None:
        self.givers[name] = Giver(port or getattr(self.unit, name), self._idles)

    def _take(self, name: str, take: Callable[[Any], None], port: Any = None) -> None:
        self.takers[name] = Taker(port or getattr(self.unit, name), self._idles, take)

    def _idles(self) -> bool:
        return self.random.random() < self.stall

    def _later(self, name: str, cycles: int, payload: Any) -> None:
        self.givers[name].queue.append((self.cycle + cycles, payload))

    def _read_line(self, name: str, request: Any) -> None:
        beyond = request.line >= len(self.state.scratchpad)
        self._refused += beyond
        line = b"\0" if beyond else self.state.scratchpad[request.line].tobytes()
        self._later(f"{name}.response", SCRATCHPAD_READ_CYCLES, int.from_bytes(line, "little"))

    def _list_rows(self, request: Any) -> None:
        rows = self.state.selected(int(request.plane)).tolist()
        assert request.rows == self.state.row_count
        for row in rows or [0]:
            last = not rows or row == rows[-1]
            listed = {"row": row, "last": int(last), "empty": int(not rows)}
            self._later("rows", ROW_LIST_CYCLES, listed)

    def _read_hbm(self, number: int, request: Any) -> None:
        for beat in self.ports[number].read(int(request.first), int(request.count)):
            self._later(f"beats_{number}", self.memory, beat)

    def _ask_hbm(self, port: Port, request: Any) -> None:
        port.asked.append((int(request.first), int(request.count)))

    def _data_hbm(self, port: Port, beat: Any) -> None:
        words = [int(word) for word in beat.data]
        half = [int(beat.half)] if port.width == 2 else []
        port.data.append((words, int(beat.strobe), *half))

    def run(self, steps: list[Issue | Sweep]) -> None:
        """Run steps; hold everything against the interpreter."""

        async def bench(context: Any) -> None:
            for step in steps:
                if isinstance(step, Issue):
                    await self._issue(context, step)
                else:
                    self.givers["sweep"].queue.append((0, vars(step)))
                    self._expect(step)
            await self._finish(context)

        simulator = Simulator(self.unit)
        simulator.add_clock(1e-6)
        simulator.add_testbench(bench)
        simulator.run()

    async def _issue(self, context: Any, issue: Issue) -> None:
        """Run an instruction, then on the interpreter."""
        one = issue.one
        if one.name in ("kv.map", "kv.order"):
            while self._expected:
                await self._tick(context)
        state = self.state
        state.registers[Register.ROWS] = issue.rows
        state.registers[Register.POSITION] = issue.position
        state.planes[PLANE] = np.isin(np.arange(state.planes.shape[1]), issue.listed)
        state.write_plane(PLANE, state.planes[PLANE])
        index = len(self.done)
        fields = {"index": index, "position": issue.position, "rows": issue.rows, "value": 0}
        words = [one.encode() >> 64 * word & (1 << 64) - 1 for word in range(4)]
        self.givers["issue"].queue.append((0, {"word": words, **fields}))
        while len(self.done) == index:
            await self._tick(context)
        assert self.done[index] == (index, int(issue.fails)), issue
        if not issue.fails:
            self._run_golden(one)
        if one.name == "kv.order":
            assert context.get(self.unit.entries) == len(self.golden.tokens)
        elif one.name == "kv.map" and not issue.fails:
            assert context.get(self.unit.entries) == 0
            assert context.get(self.unit.vector_lines) == one["vector"] // 4

    def _run_golden(self, one: Instruction) -> None:
        if one.name == "kv.order":
            self._since_order = []
        # As the interpreter does: an instruction whose plane is empty does nothing.
        if one.name != "kv.deal" and one["plane"] and not len(self.state.selected(one["plane"])):
            return
        getattr(self.golden, one.name.removeprefix("kv."))(one)

    def _expect(self, sweep: Sweep) -> None:
        """Ask the interpreter what a sweep has to bring, and from which sources."""
        order, banks = self.golden._order, self.config.kv.buffer_banks
        fresh = all(sweep.value != other.value for other in self._since_order)
        self._since_order.append(sweep)
        names = ("heads", "queries", "head_lines", "out_pitch", "pitch")
        one = Instruction("scores", dict.fromkeys(names, 1))
        heads = np.arange(sweep.line, sweep.line + sweep.lines)
        hit = (order[:, FIELD["hit"]] == 1) & fresh
        lines = (self.golden.values if sweep.value else self.golden.keys)(one, heads)
        exponents = self.golden.exponents(one, heads)[:, :, 0].T
        self._expected.append(
            Expected(
                tokens=order[:, FIELD["token"]].tolist(),
                sources=np.where(hit, order[:, FIELD["bank"]], banks + order[:, FIELD["port"]]),
                lines=lines.transpose(1, 0, 2),
                exponents=None if sweep.value else exponents,
            )
        )
        if not sweep.value:
            self.expected_events += [hit.sum(), len(hit) - hit.sum()]

    def _take_batch(self, batch: Any) -> None:
        entries = {
            int(batch.sources[source].index): (source, int(batch.sources[source].token))
            for source in self.sources
            if batch.sources[source].valid
        }
        assert sorted(entries) == list(range(batch.count))
        self._entries += [entries[index] for index in range(batch.count)]
        if batch.last:
            self._ended.append(self._entries)
            self._entries = []

    def _check_sweeps(self) -> None:
        """Compare the sweeps of which everything has come."""
        while self._ended and self._is_there(self._ended[0], self._expected[0]):
            entries, expected = self._ended.popleft(), self._expected.popleft()
            assert [token for _, token in entries] == expected.tokens
            assert [source for source, _ in entries] == expected.sources.tolist()
            for number, (source, _) in enumerate(entries):
                for line in expected.lines[number]:
                    got = self.brought[f"lines_{source}"].popleft()
                    assert list(got) == line.tolist()
                if expected.exponents is not None:
                    for exponent in expected.exponents[number]:
                        assert self.brought[f"exponents_{source}"].popleft() == exponent

    def _is_there(self, entries: list[tuple[int, int]], expected: Expected) -> bool:
        each = expected.lines.shape[1]
        for source, count in Counter(source for source, _ in entries).items():
            if len(self.brought[f"lines_{source}"]) < each * count:
                return False
            exponents = self.brought[f"exponents_{source}"]
            if expected.exponents is not None and len(exponents) < each * count:
                return False
        return True

    async def _finish(self, context: Any) -> None:
        quiet = 0
        while self._expected or quiet < QUIET_CYCLES:
            quiet = 0 if await self._tick(context) else quiet + 1
        assert not any(self.brought.values()), "something else was brought"
        assert not any(giver.queue for giver in self.givers.values())
        assert np.array_equal(self.events, self.expected_events)
        for number, port in enumerate(self.ports):
            assert not port.asked
            assert not port.data
            where = np.argwhere((port.content != self.state.hbm[number]).any(axis=1))
            assert not len(where), f"port {number}: {where[:5].ravel()}"

    async def _tick(self, context: Any) -> bool:
        unit = self.unit
        ends: list[Giver | Taker] = [*self.givers.values(), *self.takers.values()]
        for end in ends:
            end.drive(context, self.cycle)
        await context.delay(1e-9)
        moved = [end.look(context, self.cycle) for end in ends]
        for number, port in enumerate(self.ports):
            for answer in port.write():
                rest = -(self.cycle + self.memory) % self.answers
                self._later(f"answer_{number}", self.memory + rest, answer)
        refused = self._refused
        await context.tick()
        context.set(unit.memory_error, refused)
        self._refused -= refused
        self.cycle += 1
        self._quiet = 0 if any(moved) else self._quiet + 1
        assert self._quiet < HUNG_CYCLES, "the unit hangs"
        self._check_sweeps()
        self.errors += context.get(unit.read_error)
        self.events += [
            context.get(getattr(unit.events, name))
            for name in ("kv_buffer_entries", "kv_hbm_entries")
        ]
        return any(moved)


def _state(config: Config, rng: np.random.Generator) -> State:
    """Return an interpreter's state with random lines, some of zeros and subnormals."""
    beats = config.memory.hbm_port_bytes // 32
    hbm = np.zeros((config.kv.hbm_ports, beats, 32), np.uint8)
    image: Any = SimpleNamespace(hbm=hbm, ddr=np.zeros((1, 128), np.uint8))
    state = State(config, image, config.array.accumulator_rows)
    lines = rng.integers(0, 1 << 16, state.scratchpad.shape)
    # The largest exponents differ from line to line, down to lines of subnormals.
    lines &= ~(rng.integers(0, 32, len(lines))[:, None] << 10)
    state.scratchpad[:] = lines
    return state


class Writer:
    """Writes steps for vectors of some lines, one instruction after the other.

    The registers and the plane are those set last; ``plane`` 0 is every row.
    """

    def __init__(self, lines: int, *, base: int = 11, seed: int = 1):
        self.lines, self.base = lines, base
        self.random = Random(seed)
        self.steps: list[Issue | Sweep] = []
        self.position, self.rows = 0, 1
        self.listed: tuple[int, ...] = ()
        self.plane = 0

    def issue(self, name: str, *, fails: bool = False, **fields: int) -> None:
        """Issue an instruction with the registers as they are."""
        plane = {} if name == "kv.map" else {"plane": self.plane}
        self.steps.append(
            Issue(
                one=Instruction(name, plane | fields),
                position=self.position,
                rows=self.rows,
                listed=self.listed,
                fails=fails,
            )
        )

    def map(self, *, fails: bool = False, **fields: int) -> None:
        slots = {"base": self.base, "vector": 4 * self.lines, "exponents": -(-self.lines // 32)}
        self.issue("kv.map", fails=fails, **slots | fields)

    def deal(self, layer: int, rule: int = 0) -> None:
        self.issue("kv.deal", layer=layer, rule=rule)

    def write(self, layer: int, *, fails: bool = False, **fields: int) -> None:
        """Write K and V from anywhere in the scratchpad."""
        room = SCRATCHPAD_LINES // (2 * max(1, self.rows))
        places = {}
        for name in ("k", "v"):
            pitch = self.random.randint(0, room)
            places[name] = self.random.randint(0, SCRATCHPAD_LINES // 2 - self.lines)
            places[f"{name}_pitch"] = pitch
        places |= {"lines": self.lines, "layer": layer}
        self.issue("kv.write", fails=fails, **places | fields)

    def order(self, layer: int, *, ahead: bool = False, every: bool = False) -> None:
        self.issue("kv.order", layer=layer, ahead=int(ahead), entries=int(every))

    def sweep(self, value: int, line: int = 0, lines: int | None = None) -> None:
        count = self.lines - line if lines is None else lines
        self.steps.append(Sweep(value=value, line=line, lines=count))

    def sweeps(self) -> None:
        """Sweep all K, then all V, each in one part or two."""
        for value in (0, 1):
            cut = self.random.randint(0, self.lines - 1)
            if cut:
                self.sweep(value, 0, cut)
            self.sweep(value, cut)


def config_of(**kv: int) -> Config:
    """Return the demo configuration with a small buffer, and other sizes of the KV memory."""
    small = {"buffer_tokens": 16, "max_tokens": 64, "max_layers": 4} | kv
    return replace(DEMO, kv=replace(DEMO.kv, **small))


@pytest.fixture
def kv_unit() -> SimpleNamespace:
    """Return what tests of the KV unit are made of."""
    return SimpleNamespace(Bench=Bench, Writer=Writer, config_of=config_of, plane=PLANE)
