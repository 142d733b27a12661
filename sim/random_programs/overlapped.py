"""An interpreter whose units run side by side, each as fast as chance has it."""

from collections import deque
from collections.abc import Callable
from random import Random

from hwroute.isa.fields import QUEUED, Register, Unit
from hwroute.models.interpreter.run import Interpreter
from hwroute.models.interpreter.state import MachineError
from hwroute.sim.random_programs.case import Outcome, RandomCase, outcome_of


class Overlapped(Interpreter):
    """Queues, tokens and waits alone keep the order.

    Members
    -------
    random
        What decides who is next; to be set before a run.
    tokens
        Tokens given and not taken, by giver and taker.
    """

    random: Random

    def _run(self, progress: Callable[[int], None]) -> int:
        self.queues: dict[Unit, deque[tuple[int, list[int]]]] = {one: deque() for one in QUEUED}
        self.tokens = {(a, b): 0 for a in QUEUED for b in QUEUED}
        index, puts = 0, 0
        # Some runs queue much before any of it starts, some little.
        eager = self.random.choice((0.05, 0.4, 0.8))
        while True:
            one = self.program.instructions[index]
            while self.random.random() < eager and self._step():
                pass
            if one.unit is not Unit.CONTROL:
                self.queues[one.unit].append((index, list(self.state.registers)))
                if one.name == "put":
                    puts += 1
                    progress(1)
                index += 1
                continue
            self._drain(QUEUED if one.name == "halt" else one.units("wait"))
            if one.name == "halt":
                return puts
            index = self._control(index, one)

    def _drain(self, units: tuple[Unit, ...]) -> None:
        while any(self.queues[unit] for unit in units):
            if not self._step():
                raise MachineError("tokens must never dead-lock")

    def _step(self) -> bool:
        """Run the head of some queue that has its tokens; tell whether there was one."""
        ready = [unit for unit in QUEUED if self.queues[unit] and self._has_tokens(unit)]
        if not ready:
            return False
        unit = self.random.choice(ready)
        index, registers = self.queues[unit].popleft()
        one = self.program.instructions[index]
        for source in one.units("wait"):
            self.tokens[source, unit] -= 1
        # A unit sees the registers that its instruction was issued with.
        now, self.state.registers = self.state.registers, registers
        self._note(index, one, self._perform(one))
        if one.name == "argmax" and one["last"]:
            now[Register.TOKEN] = registers[Register.TOKEN]
        self.state.registers = now
        for target in one.units("signal"):
            self.tokens[unit, target] += 1
        return True

    def _has_tokens(self, unit: Unit) -> bool:
        one = self.program.instructions[self.queues[unit][0][0]]
        return all(self.tokens[source, unit] for source in one.units("wait"))


def overlapped(case: RandomCase, seed: int) -> Outcome:
    """Return what a run leaves in which chance decides the pace of units.

    Raises
    ------
    MachineError
        The tokens dead-lock, or some are left at the end.
    """
    interpreter = Overlapped(case.program, case.image)
    interpreter.random = Random(seed)
    found = outcome_of(interpreter, case)
    left = {pair: count for pair, count in interpreter.tokens.items() if count}
    if left:
        raise MachineError(f"tokens must balance, not leave {left}")
    return found
