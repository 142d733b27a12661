"""A sequencer in Amaranth's simulator between an instruction memory and units that only wait."""

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from random import Random
from typing import Any

import pytest
from amaranth.hdl import Value
from amaranth.sim import Simulator

from hwroute.csr import ARGUMENT_BITS, Error
from hwroute.isa.fields import PLANES, QUEUED, Unit
from hwroute.isa.instruction import Instruction, decode
from hwroute.rtl.sequencer import Sequencer
from hwroute.sequencer_config import SequencerConfig

ARGUMENTS = dict.fromkeys(ARGUMENT_BITS, 0) | {"tile": 16}


@dataclass(kw_only=True)
class Executed:
    """An instruction that a unit was given: when it was taken, when it ended, and its registers."""

    unit: Unit
    index: int
    position: int
    rows: int
    value: int
    start: int
    end: int = -1

    @property
    def seen(self) -> tuple[int, int, int, int]:
        return self.index, self.position, self.rows, self.value


@dataclass(kw_only=True)
class Outcome:
    """What a run gave.

    executed: in order of their start. ended: its cycle. fetched: cycle and index of each request.
    """

    error: Error
    unit: int
    index: int
    executed: list[Executed]
    started: int
    ended: int
    fetched: list[tuple[int, int]]
    events: dict[str, int]

    def of(self, unit: Unit) -> list[Executed]:
        return [one for one in self.executed if one.unit is unit]


@dataclass(kw_only=True)
class Chances:
    """How long everything takes, in cycles: drawn from these.

    memory: from a request to its word. idle: chance that a memory or unit is not ready in a cycle.
    work: length of an instruction; flight: instructions that a unit works on at once.
    """

    memory: tuple[int, int] = (1, 1)
    idle: float = 0.0
    work: tuple[int, int] = (1, 1)
    flight: int = 4


SLOW = Chances(memory=(1, 6), idle=0.4, work=(1, 12), flight=3)


class Effects:
    """What the end of an instruction does to the sequencer's inputs: nothing, here.

    Members
    -------
    planes
        For each plane the tokens that it holds.
    """

    def __init__(self) -> None:
        self.planes: list[list[bool]] = [[] for _ in range(PLANES)]

    def end(self, one: Executed, instruction: Instruction) -> int | None:
        """Return the new value of the register ``token``, if there is one."""
        return None


class SequencerBench:
    """A sequencer that keeps its state from run to run.

    `dut` may be one that has some of its units inside, and then none of their members.
    """

    arguments = ARGUMENTS
    chances = Chances
    effects = Effects
    slow = SLOW

    def __init__(self, config: SequencerConfig | None = None, *, dut: Any = None):
        self.dut = dut or Sequencer(config or SequencerConfig())

    @staticmethod
    def job(words: Sequence[int], *, seed: int = 1, **options: Any) -> "Job":
        """Return a run of a program; options are those of a job, or arguments of the run."""
        names = {one.name for one in fields(Job)}
        chosen = {name: value for name, value in options.items() if name in names}
        given = {name: value for name, value in options.items() if name not in names}
        arguments = ARGUMENTS | {"length": len(words)} | given
        return Job(words=list(words), random=Random(seed), arguments=arguments, **chosen)

    def run(self, words: Sequence[int], **options: Any) -> Outcome:
        """Run a program once."""
        return self.run_all([self.job(words, **options)])[0]

    def run_all(self, jobs: Sequence["Job"]) -> list[Outcome]:
        """Run one after the other."""
        outcomes = []
        ports = Ports(self.dut)

        async def bench(context: Any) -> None:
            for job in jobs:
                outcomes.append(await ports.run(context, job))

        simulator = Simulator(self.dut)
        simulator.add_clock(1e-6)
        simulator.add_testbench(bench)
        simulator.run()
        return outcomes


@dataclass(kw_only=True)
class Job:
    """A run.

    failing: indices of instructions that end with an error. hanging: index of an instruction ->
    cycles that it takes. silent: whether the memory does not answer.
    """

    words: list[int]
    chances: Chances = field(default_factory=Chances)
    random: Random = field(default_factory=lambda: Random(1))
    effects: Effects = field(default_factory=Effects)
    failing: set[int] = field(default_factory=set)
    hanging: dict[int, int] = field(default_factory=dict)
    silent: bool = False
    limit: int = 20_000
    arguments: dict[str, int]


class Ports:
    """Everything around the sequencer; what is on its way stays from run to run."""

    def __init__(self, dut: Any):
        self.dut = dut
        self.units = [unit for unit in QUEUED if hasattr(dut, f"issue_{unit.name.lower()}")]
        self.cycle = 0
        self.asked: deque[tuple[int, int]] = deque()
        """Cycle in which each word can come, and the word."""
        self.working: dict[Unit, deque[tuple[int, Executed, Job]]] = {
            unit: deque() for unit in QUEUED
        }
        """Cycle in which each instruction can end, and whose it is."""
        self.driven: dict[int, Any] = {}
        self.waiting: dict[int, int] = {}
        """Payload of each stream that waits for `ready`."""

    def _set(self, context: Any, signal: Any, value: Any) -> None:
        """Drive an input, which costs time only where it changes."""
        if self.driven.get(id(signal)) != value:
            self.driven[id(signal)] = value
            context.set(signal, value)

    def _taken(self, context: Any, port: Any, ready: bool) -> bool:
        """Return whether a payload is taken; one that was not before must still be there."""
        self._set(context, port.ready, ready)
        valid, kept = context.get(port.valid), self.waiting.pop(id(port), None)
        if valid and not (ready and kept is None):
            payload = context.get(Value.cast(port.payload))
            assert kept in (None, payload)
            if not ready:
                self.waiting[id(port)] = payload
        assert valid or kept is None
        return bool(valid and ready)

    async def run(self, context: Any, job: Job) -> Outcome:
        dut = self.dut
        context.set(dut.arguments, job.arguments)
        context.set(dut.start, 1)
        assert context.get(dut.idle)
        started = self.cycle
        executed: list[Executed] = []
        fetched: list[tuple[int, int]] = []
        counts: Counter[int] = Counter()
        finished = False
        while not finished:
            assert self.cycle - started < job.limit, "a run must end"
            self._memory(context, job, fetched)
            for unit in self.units:
                self._unit(context, job, unit, executed)
            finished = bool(context.get(dut.finished))
            rows = context.get(dut.rows)
            held = [rows > 0, *(any(plane[:rows]) for plane in job.effects.planes[1:])]
            counts[context.get(dut.events.as_value())] += 1
            await context.tick()
            self.cycle += 1
            self._set(context, dut.start, 0)
            # The planes come a cycle late.
            if Unit.ROUTER in self.units:
                bits = sum(bit << plane for plane, bit in enumerate(held))
                self._set(context, dut.plane_any, bits)
        self.driven.clear()
        return Outcome(
            error=Error(context.get(dut.error.code)),
            unit=context.get(dut.error.unit),
            index=context.get(dut.error.index),
            executed=executed,
            started=started,
            ended=self.cycle,
            fetched=fetched,
            events={
                name: sum(count for bits, count in counts.items() if bits >> place & 1)
                for place, (name, _) in enumerate(dut.events.shape())
            },
        )

    def _memory(self, context: Any, job: Job, fetched: list[tuple[int, int]]) -> None:
        dut, random = self.dut, job.random
        if self._taken(context, dut.requests, random.random() >= job.chances.idle):
            index = context.get(dut.requests.payload)
            assert index < len(job.words), "no word behind the program is asked for"
            fetched.append((self.cycle, index))
            self.asked.append((self.cycle + random.randint(*job.chances.memory), job.words[index]))
        comes = bool(self.asked) and self.asked[0][0] <= self.cycle and not job.silent
        self._set(context, dut.words.valid, int(comes))
        if comes:
            context.set(dut.words.payload.as_value(), self.asked.popleft()[1])

    def _unit(self, context: Any, job: Job, unit: Unit, executed: list[Executed]) -> None:
        dut, working, random, name = self.dut, self.working[unit], job.random, unit.name.lower()
        issue, done = getattr(dut, f"issue_{name}"), getattr(dut, f"done_{name}")
        ends = bool(working) and working[0][0] <= self.cycle
        self._set(context, done.valid, int(ends))
        token = None
        if ends:
            _, one, owner = working.popleft()
            one.end = self.cycle
            error = one.index in owner.failing
            context.set(done.payload, {"error": error, "index": one.index})
            token = owner.effects.end(one, decode(owner.words[one.index]))
        if unit is Unit.NPE:
            self._set(context, dut.token_valid, int(token is not None))
            self._set(context, dut.token, token or 0)
        ready = len(working) < job.chances.flight and random.random() >= job.chances.idle
        if self._taken(context, issue, ready):
            payload = context.get(issue.payload)
            numbers = {name: payload[name] for name in ("index", "position", "rows", "value")}
            assert payload.word.as_value().value == job.words[numbers["index"]]
            one = Executed(unit=unit, start=self.cycle, **numbers)
            executed.append(one)
            length = job.hanging.get(one.index, random.randint(*job.chances.work))
            working.append((self.cycle + length, one, job))


@pytest.fixture
def bench() -> Any:
    """Return the class: a test makes sequencers of its own."""
    return SequencerBench
