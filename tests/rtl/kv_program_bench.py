"""The KV unit among models of its memories, and the interpreter's unit beside it."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random
from types import SimpleNamespace
from typing import Any

import numpy as np
from amaranth.hdl import Value
from amaranth.sim import Simulator

from hwroute.config import PRESETS, Config
from hwroute.isa.fields import Register
from hwroute.isa.instruction import Instruction
from hwroute.models.interpreter.kv import FIELD
from hwroute.models.interpreter.kv import KVUnit as GoldenUnit
from hwroute.models.interpreter.state import MachineError, State
from hwroute.rtl.attention_layouts import source_count
from hwroute.rtl.kv_unit import KVUnit
from tests.rtl.stream_ends import Bits

DEMO = PRESETS["demo"]
LINES = 2
BASE = 37
TILE = DEMO.array.accumulator_rows
K, V = 0, 100
"""Lines of the scratchpad at which K and V of row 0 are."""
PITCH = 3
EMPTY = 7
"""A plane that holds no token."""
HUNG_CYCLES = 1500
HEAD = {"out_pitch": 1, "heads": 1, "queries": 1, "head_lines": 1, "pitch": 1}
"""Of a scores instruction whose heads are lines."""


@dataclass(frozen=True, kw_only=True)
class Issue:
    """An instruction and the registers that it is issued with."""

    one: Instruction
    position: int = 0
    rows: int = 1


def issued(name: str, *, position: int = 0, rows: int = 1, **fields: int) -> Issue:
    """Return an instruction; kv.map and kv.write have the sizes of this file unless told."""
    usual = {
        "kv.map": {"base": BASE, "vector": 4 * LINES, "exponents": 1},
        "kv.write": {"k": K, "k_pitch": PITCH, "v": V, "v_pitch": PITCH, "lines": LINES},
    }
    return Issue(one=Instruction(name, usual.get(name, {}) | fields), position=position, rows=rows)


class Bench:
    """The unit, models of scratchpad, HBM and router, and the interpreter's unit beside it."""

    def __init__(self, config: Config, *, stall: float = 0.0, seed: int = 1):
        self.config, self.stall, self.random = config, stall, Random(seed)
        self.paired = config.kv.beat_bits == 512
        rng = np.random.default_rng(seed)
        beats = BASE + config.kv.port_slots * (8 * LINES + 1)
        hbm = rng.integers(0, 256, (config.kv.hbm_ports, beats, 32), np.uint8)
        image: Any = SimpleNamespace(hbm=hbm, ddr=np.zeros((1, 128), np.uint8))
        self.state = State(config, image, TILE)
        self.state.planes[1:] = rng.random(self.state.planes[1:].shape) < 0.5
        self.state.planes[EMPTY] = False
        self.golden = GoldenUnit(self.state)
        self.hbm = hbm.copy()
        self.unit: Any = KVUnit(config)
        self.sources = range(source_count(config))
        self.cycle = 0
        self.done: list[tuple[int, int]] = []
        self.batches: list[Any] = []
        self.lines: list[deque[int]] = [deque() for _ in self.sources]
        self.exponents: list[deque[int]] = [deque() for _ in self.sources]
        self.events, self.served = [0, 0], [0, 0]
        self.refuses, self.misses = False, 0
        self.gives: list[tuple[Any, deque[tuple[int, Any]]]] = []
        self.takes: list[tuple[Any, Callable[[Any], None]]] = []
        self._held: dict[int, int] = {}
        self._bits = Bits()
        self.issues = self._give(self.unit.issue)
        self.sweeps = self._give(self.unit.sweep)
        self._connect()

    def _give(self, port: Any) -> deque[tuple[int, Any]]:
        queue: deque[tuple[int, Any]] = deque()
        self.gives.append((port, queue))
        return queue

    def _connect(self) -> None:
        unit = self.unit
        rows = self._give(unit.rows.rows)
        self.takes += [
            (unit.rows.request, lambda request: rows.extend(self._rows(request))),
            (unit.done, lambda done: self.done.append((int(done.index), int(done.error)))),
            (unit.batches, self.batches.append),
        ]
        for name in ("k", "v"):
            port = getattr(unit, f"read_{name}")
            lines = self._give(port.response)
            self.takes.append((port.request, self._reads(lines)))
        for number in range(self.config.kv.hbm_ports):
            self._connect_port(number)
        for source in self.sources:
            self.takes += [
                (getattr(unit, f"lines_{source}"), self._notes(self.lines[source])),
                (getattr(unit, f"exponents_{source}"), self._notes(self.exponents[source])),
            ]

    @staticmethod
    def _notes(queue: deque[int]) -> Callable[[Any], None]:
        def note(payload: Any) -> None:
            value = payload if isinstance(payload, int) else payload.as_bits()
            queue.append(value)

        return note

    def _rows(self, request: Any) -> list[tuple[int, Any]]:
        held = self.state.planes[request.plane, : request.rows] | (int(request.plane) == 0)
        rows = np.flatnonzero(held).tolist()
        when = self.cycle + 3
        if not rows:
            return [(when, {"row": 0, "last": 1, "empty": 1})]
        return [(when, {"row": row, "last": row == rows[-1], "empty": 0}) for row in rows]

    def _reads(self, lines: deque[tuple[int, Any]]) -> Callable[[Any], None]:
        def read(request: Any) -> None:
            there = request.line < len(self.state.scratchpad)
            self.misses += not there
            line = self.state.scratchpad[request.line].tolist() if there else [0] * 64
            lines.append((self.cycle + 3, line))

        return read

    def _connect_port(self, number: int) -> None:
        unit, width = self.unit, 2 if self.paired else 1
        beats, answers = (
            self._give(getattr(unit, f"{name}_{number}")) for name in ("beats", "answer")
        )
        asked: deque[list[int]] = deque()
        early: deque[Any] = deque()
        content = self.hbm[number]

        def read(request: Any) -> None:
            first, last = int(request.first), int(request.first) + int(request.count)
            assert 0 < request.count <= len(content) - first
            for at in range(first, last, width):
                part = int.from_bytes(content[at : min(at + width, last)].tobytes(), "little")
                words = [part >> 64 * n & (1 << 64) - 1 for n in range(4 * width)]
                payload = {"data": words, "error": 0, "last": at + width >= last}
                beats.append((self.cycle + 5, payload))

        def write(request: Any) -> None:
            assert request.count
            asked.append([int(request.first), int(request.count)])
            while early and asked:
                put(early.popleft())

        def store(payload: Any) -> None:
            # A port's data may be there before the request.
            early.append(payload)
            while early and asked:
                put(early.popleft())

        def put(payload: Any) -> None:
            place, left = asked[0]
            size = payload.data.as_bits().to_bytes(32 * width, "little")
            count = min(width, left)
            assert payload.strobe == (1 << 32 * width) - 1
            if self.paired:
                assert payload.half == (left == 1)
            bad = self.refuses or place + left > len(content)
            if not bad:
                content[place : place + count] = np.frombuffer(size, np.uint8).reshape(-1, 32)[
                    :count
                ]
            asked[0] = [place + count, left - count]
            if left == count:
                asked.popleft()
                answers.append((self.cycle + 6, {"error": bad}))

        self.takes += [
            (getattr(unit, f"read_{number}"), read),
            (getattr(unit, f"write_{number}"), write),
            (getattr(unit, f"data_{number}"), store),
        ]

    def run(self, program: Callable[["Bench"], Any]) -> None:
        """Run a test, a generator that yields what it waits for."""

        async def bench(context: Any) -> None:
            for until in program(self):
                begun = self.cycle
                while not until():
                    await self._tick(context)
                    assert self.cycle - begun < HUNG_CYCLES, "the unit hangs"

        simulator = Simulator(self.unit)
        simulator.add_clock(1e-6)
        simulator.add_testbench(bench)
        simulator.run()

    def _idles(self) -> bool:
        return self.random.random() < self.stall

    async def _tick(self, context: Any) -> None:
        for port, queue in self.gives:
            due = bool(queue) and queue[0][0] <= self.cycle and not self._idles()
            if due and not context.get(port.valid):
                context.set(port.payload, queue[0][1])
                context.set(port.valid, 1)
        for port, _ in self.takes:
            self._bits.set(context, port.ready, not self._idles())
        self._bits.set(context, self.unit.memory_error, self.misses > 0)
        self.misses = 0
        given = [context.get(port.valid) and context.get(port.ready) for port, _ in self.gives]
        acts = []
        for number, (port, act) in enumerate(self.takes):
            valid = context.get(port.valid)
            bits = context.get(Value.cast(port.payload)) if valid else 0
            assert self._held.pop(number, bits) == bits, "a payload that waits is held"
            if valid and context.get(port.ready):
                acts.append((act, context.get(port.payload)))
            elif valid:
                self._held[number] = bits
        await context.tick()
        self.cycle += 1
        for (port, queue), taken in zip(self.gives, given, strict=True):
            if taken:
                queue.popleft()
                context.set(port.valid, 0)
        for act, payload in acts:
            act(payload)
        self.events[0] += context.get(self.unit.events.kv_buffer_entries)
        self.events[1] += context.get(self.unit.events.kv_hbm_entries)

    def execute(self, issue: Issue, *, fails: bool | None = None) -> Any:
        """Run an instruction on both; yield until it has ended. ``fails``: not on the golden."""
        index = len(self.done)
        payload = {
            "word": [issue.one.encode() >> 64 * n & (1 << 64) - 1 for n in range(4)],
            "index": index,
            "position": issue.position,
            "rows": issue.rows,
            "value": 0,
        }
        self.issues.append((self.cycle, payload))
        yield lambda: len(self.done) > index
        registers = self.state.registers
        registers[Register.POSITION], registers[Register.ROWS] = issue.position, issue.rows
        if fails is None:
            fails = self._on_golden(issue.one)
        assert self.done[-1] == (index, int(fails)), issue

    def _on_golden(self, one: Instruction) -> bool:
        try:
            held = not one["plane"] or len(self.state.selected(one["plane"]))
            if held or one.name == "kv.deal":
                getattr(self.golden, one.name.removeprefix("kv."))(one)
        except MachineError:
            return True
        return False

    def attend(self, *sweeps: tuple[int, int, int]) -> Any:
        """Sweep the order; compare every line and exponent with the golden's entries."""
        used: set[int] = set()
        heads = Instruction("scores", HEAD)
        every = np.arange(LINES)
        golden = [self.golden.keys(heads, every), self.golden.values(heads, every)]
        exponents = self.golden.exponents(heads, every)
        for value, line, lines in sweeps:
            self.batches.clear()
            self.sweeps.append((self.cycle, {"value": value, "line": line, "lines": lines}))
            yield lambda: bool(self.batches) and bool(self.batches[-1].last)
            entry = 0
            for batch in self.batches:
                for source in self.sources:
                    if batch.sources[source].valid:
                        at = entry + int(batch.sources[source].index)
                        assert batch.sources[source].token == self.golden.tokens[at]
                        part = golden[value][line : line + lines, at]
                        yield self._has(self.lines[source], lines)
                        assert [self.lines[source].popleft() for _ in range(lines)] == [
                            int.from_bytes(row.tobytes(), "little") for row in part
                        ]
                        if not value:
                            yield self._has(self.exponents[source], lines)
                            found = [self.exponents[source].popleft() for _ in range(lines)]
                            assert found == exponents[line : line + lines, at, 0].tolist()
                entry += int(batch.count)
            assert entry == len(self.golden.tokens)
            hits = int(self.golden._order[:, FIELD["hit"]].sum()) if value not in used else 0
            if not value:
                self.served[0] += hits
                self.served[1] += entry - hits
            used.add(value)
        assert not any(self.lines)
        assert not any(self.exponents)
        assert self.events == self.served

    @staticmethod
    def _has(queue: deque[int], count: int) -> Callable[[], bool]:
        return lambda: len(queue) >= count

    def compare(self) -> None:
        """Compare HBM with the golden's."""
        assert np.array_equal(self.hbm, self.state.hbm)


def config_of(**kv: int) -> Config:
    small = {"buffer_tokens": 16, "max_tokens": 64, "max_layers": 4} | kv
    return replace(DEMO, kv=replace(DEMO.kv, **small))
