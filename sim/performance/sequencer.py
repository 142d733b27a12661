"""The sequencer as a SimPy process: fetch, control instructions, handing on."""

from collections import deque
from collections.abc import Callable

import simpy

from hwroute import timing
from hwroute.isa.fields import QUEUED, Register, Unit
from hwroute.isa.instruction import Instruction
from hwroute.models.interpreter.state import ALL_BITS
from hwroute.program import Program
from hwroute.sequencer_config import SequencerConfig
from hwroute.sim.performance.result import Event
from hwroute.sim.performance.unit_queue import Item, Process, Registers, UnitQueue

UnitPair = tuple[tuple[Unit, ...], tuple[Unit, ...]]


class Sequencer:
    """Fetch a Program, run control instructions, hand the others to the queues.

    Parameters
    ----------
    env, config
        SimPy's; sizes.
    program
        What is run.
    registers
        Shared with the units.
    tokens
        Units that each instruction waits for, and signals.
    memory_cycles
        Latency of the memory that holds the program.
    words
        Called with the number of words that are fetched.

    Members
    -------
    decided
        Called when a branch on an empty plane is run: whether it is taken.
    """

    def __init__(
        self,
        env: simpy.Environment,
        config: SequencerConfig,
        program: Program,
        registers: Registers,
        *,
        tokens: list[UnitPair],
        memory_cycles: float,
        words: Callable[[int], None],
    ):
        self.env = env
        self.config = config
        self.program = program
        self.registers = registers
        self.memory_cycles = memory_cycles
        self.words = words
        self.queues = {unit: UnitQueue(env, config, unit) for unit in QUEUED}
        self.events: list[Event] = []
        self.marks: list[float] = []
        self._changed = env.event()
        for queue in self.queues.values():
            queue.left = self._poke
        self._taken: deque[float] = deque(maxlen=config.prefetch)
        self._asked = 0.0
        self._next = program.labels["next"]
        self._units = tokens
        self.decided: Callable[[bool], None] = lambda _: None

    def _poke(self) -> None:
        if not self._changed.triggered:
            self._changed.succeed()

    def retire(self, item: Item) -> None:
        """End an instruction: its tokens are given."""
        item.event.retired = self.env.now
        self.events.append(item.event)
        self.queues[item.event.unit].retire()
        for unit in item.signal:
            self.queues[unit].give(item.event.unit)
        self._poke()

    def run(self, first: int, passes: int | None = None) -> Process:
        """Run from an instruction to the halt, or until ``next`` is reached `passes` times."""
        index = first
        self._redirect()
        while True:
            if index == self._next:
                self.marks.append(self.env.now)
                if passes is not None and len(self.marks) > passes:
                    yield from self._drain(QUEUED)
                    return
            one = self.program.instructions[index]
            delay = self._arrival() - self.env.now
            if delay > 0:
                yield self.env.timeout(delay)
            if one.unit is not Unit.CONTROL:
                yield from self._hand(index, one)
                index += 1
                continue
            waits = QUEUED if one.name == "halt" else self._units[index][0]
            yield from self._drain(waits)
            yield self.env.timeout(timing.CONTROL_CYCLES)
            if one.name == "halt":
                return
            following = self._execute(index, one)
            if following != index + 1:
                self._redirect()
            index = following

    def _redirect(self) -> None:
        """Fetch from another place on, from now."""
        self._taken.clear()
        self._asked = self.env.now - 1

    def _arrival(self) -> float:
        """Return when the next word is decoded: asked for when one of those ahead is taken."""
        full = len(self._taken) == self.config.prefetch
        self._asked = max(self._asked + 1, self._taken[0] if full else 0)
        arrives = self._asked + self.memory_cycles + timing.FETCH_CYCLES
        self._taken.append(max(arrives, self.env.now))
        self.words(1)
        return arrives

    def _hand(self, index: int, one: Instruction) -> Process:
        queue = self.queues[one.unit]
        while queue.full:
            yield from self._wait()
        values = self.registers.values
        event = Event(
            index,
            one.name,
            one.unit,
            values[Register.POSITION],
            values[Register.ROWS],
            self.env.now,
        )
        queue.hand(Item(one, event, *self._units[index]))
        yield self.env.timeout(1)

    def _wait(self) -> Process:
        self._changed = self.env.event()
        yield self._changed

    def _drain(self, units: tuple[Unit, ...]) -> Process:
        """Wait until units have finished all they were given."""
        waited = False
        while any(self.queues[unit].pending for unit in units):
            waited = True
            yield from self._wait()
        if waited:
            yield self.env.timeout(timing.DRAIN_CYCLES)

    def _execute(self, index: int, one: Instruction) -> int:
        """Do the work of a control instruction, and return the index of the next."""
        values = self.registers.values
        taken = False
        new: int | None = None
        if one.name == "set":
            new = one["value"]
        elif one.name == "add":
            new = values[one["a"]] + values[one["b"]]
        elif one.name == "sub":
            new = values[one["a"]] - values[one["b"]]
        elif one.name == "min":
            new = min(values[one["a"]], one["value"])
        elif one.name == "loop":
            new = values[one["d"]] - 1
            taken = new != 0
        elif one.name == "jump":
            taken = True
        elif one.name == "branch.empty":
            taken = not len(self.registers.selected(one["plane"], values[Register.ROWS]))
            self.decided(taken)
        elif one.name == "branch.zero":
            taken = values[one["a"]] == 0
        elif one.name == "branch.equal":
            taken = values[one["a"]] == values[one["b"]]
        if new is not None and one["d"] != Register.ZERO:
            values[one["d"]] = new & ALL_BITS
        return one["target"] if taken else index + 1
