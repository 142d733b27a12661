# amaranth: UnusedElaboratable=no
"""The array's instructions: one kind at a time, in order, each to its control."""

from collections import deque
from random import Random
from typing import Any

import pytest
from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, flipped
from amaranth.sim import Simulator

from hwroute import timing
from hwroute.isa.instruction import Instruction
from hwroute.isa.table import BY_NAME
from hwroute.rtl.array_dispatch import MOST, ArrayDispatch, ArrayKind, connect_open
from hwroute.rtl.scratchpad_layouts import ReadPort

NAMES = [kind.name.lower() for kind in ArrayKind]


def words_of(name: str) -> list[int]:
    """Return an instruction as words of 64 bits."""
    fields = {field.name: field.least for field in BY_NAME[name].fields}
    word = Instruction(name, fields).encode()
    return [word >> 64 * part & (1 << 64) - 1 for part in range(4)]


class Dispatched:
    """A run of instructions through a dispatch, with controls that take `depth` and some time."""

    def __init__(self, names: list[str], *, depth: int = 4, work: int = 5, stall: float = 0.0):
        self.names, self.depth, self.work, self.stall = names, depth, work, stall
        self.taken: list[tuple[int, str, int]] = []
        self.ended: list[tuple[int, int, int]] = []
        self.most = 0
        self.dut: Any = ArrayDispatch()
        simulator = Simulator(self.dut)
        simulator.add_clock(1e-6)
        simulator.add_testbench(self.bench)
        simulator.run()

    async def bench(self, context: Any) -> None:
        dut, random = self.dut, Random(1)
        waiting = deque(enumerate(self.names))
        open_at: dict[str, deque[tuple[int, int]]] = {name: deque() for name in NAMES}
        offered, cycle = False, 0
        while len(self.ended) < len(self.names):
            if not offered and waiting and random.random() >= self.stall:
                offered = True
                index, name = waiting[0]
                context.set(dut.issue.payload.index, index)
                context.set(dut.issue.payload.word, words_of(name))
            context.set(dut.issue.valid, offered)
            context.set(dut.done.ready, random.random() >= self.stall)
            for name in NAMES:
                held = open_at[name]
                issue, done = getattr(dut, f"issue_{name}"), getattr(dut, f"done_{name}")
                room = len(held) < self.depth and random.random() >= self.stall
                context.set(issue.ready, room)
                due = bool(held) and held[0][0] <= cycle
                context.set(done.valid, due)
                if due:
                    context.set(done.payload, {"index": held[0][1], "error": held[0][1] % 3 == 0})
            if offered and context.get(dut.issue.ready):
                offered = False
                waiting.popleft()
            ended = context.get(dut.done.valid) and context.get(dut.done.ready)
            payload = context.get(dut.done.payload)
            for name in NAMES:
                issue, done = getattr(dut, f"issue_{name}"), getattr(dut, f"done_{name}")
                if context.get(done.valid) and context.get(done.ready):
                    assert ended, "only what is passed on is taken"
                    open_at[name].popleft()
                if context.get(issue.valid) and context.get(issue.ready):
                    index = context.get(issue.payload.index)
                    assert list(context.get(issue.payload.word)) == words_of(name)
                    self.taken.append((cycle, name, index))
                    open_at[name].append((cycle + self.work, index))
            if ended:
                self.ended.append((cycle, payload.index, payload.error))
            assert sum(map(bool, open_at.values())) <= 1, "two kinds are open"
            self.most = max(self.most, sum(map(len, open_at.values())))
            await context.tick()
            cycle += 1
            assert cycle < 5_000, "the dispatch hangs"


@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_kinds_never_mix_and_ends_keep_their_order(stall: float) -> None:
    random = Random(3)
    names = [random.choice([*NAMES, "matmul", "matmul"]) for _ in range(80)]
    run = Dispatched(names, stall=stall)
    assert [(name, index) for _, name, index in run.taken] == [*zip(names, range(80), strict=True)]
    assert [pair[1:] for pair in run.ended] == [(index, index % 3 == 0) for index in range(80)]
    assert run.most > 1


def test_one_kind_goes_on_without_waiting_and_a_change_takes_its_cycles() -> None:
    run = Dispatched(["matmul"] * 4 + ["values"] * 2 + ["scores"])
    cycles = [cycle for cycle, _, _ in run.taken]
    ends = [cycle for cycle, _, _ in run.ended]
    assert cycles[1:4] == [cycles[0] + step for step in (1, 2, 3)]
    # The end is seen in the next cycle.
    assert cycles[4] == ends[3] + 1 + timing.ARRAY_SWITCH_CYCLES
    assert cycles[5] == cycles[4] + 1
    assert cycles[6] == ends[5] + 1 + timing.ARRAY_SWITCH_CYCLES


def test_as_many_are_open_as_a_sequencer_gives() -> None:
    run = Dispatched(["matmul"] * 80, depth=100, work=200)
    assert run.most == MOST


class Switched(wiring.Component):
    """A read port that two kinds have, and one stream that goes the other way."""

    def __init__(self) -> None:
        port = ReadPort()
        super().__init__(
            {
                "kind": In(ArrayKind),
                "outer": Out(port),
                "matmul": In(port),
                "values": In(port),
                "beats": In(stream.Signature(8)),
                "scores_beats": Out(stream.Signature(8)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        users = {kind: flipped(getattr(self, kind.name.lower())) for kind in (MATMUL, VALUES)}
        connect_open(m, self.kind, self.outer, users)
        connect_open(m, self.kind, self.beats, {SCORES: self.scores_beats})
        return m


MATMUL, SCORES, VALUES = ArrayKind


def test_a_port_belongs_to_the_kind_that_is_open() -> None:
    dut: Any = Switched()

    async def bench(context: Any) -> None:
        streams = {MATMUL: dut.matmul, VALUES: dut.values}
        for number, one in enumerate(streams.values()):
            context.set(one.request.payload.line, 7 + number)
            context.set(one.request.valid, 1)
            context.set(one.response.ready, 1)
        context.set(dut.outer.request.ready, 1)
        context.set(dut.outer.response.valid, 1)
        context.set(dut.beats.valid, 1)
        context.set(dut.beats.payload, 9)
        context.set(dut.scores_beats.ready, 1)
        for kind in ArrayKind:
            context.set(dut.kind, kind)
            outer = dut.outer
            assert context.get(outer.request.valid) == (kind is not SCORES)
            assert context.get(outer.response.ready) == (kind is not SCORES)
            for one, port in streams.items():
                assert context.get(port.request.ready) == (one is kind)
                assert context.get(port.response.valid) == (one is kind)
            if kind is not SCORES:
                line = context.get(outer.request.payload.line)
                assert line == (7 if kind is MATMUL else 8)
            assert context.get(dut.scores_beats.valid) == (kind is SCORES)
            assert context.get(dut.beats.ready) == (kind is SCORES)
            if kind is SCORES:
                assert context.get(dut.scores_beats.payload) == 9

    simulator = Simulator(dut)
    simulator.add_testbench(bench)
    simulator.run()
