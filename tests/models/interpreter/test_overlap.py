"""Queues and tokens alone keep a Program's order: units that run as they like change no bit."""

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import numpy as np
import pytest

from hwroute.compiler import compile_program
from hwroute.config import PRESETS
from hwroute.isa.fields import QUEUED, Register, Unit
from hwroute.isa.instruction import Instruction
from hwroute.models.image import build_image
from hwroute.models.interpreter import Interpreter, MachineError
from hwroute.models.library import named_policy
from hwroute.models.random_weights import RandomCheckpoint
from hwroute.program import Program
from hwroute.shape import ModelShape

SHAPE = ModelShape(
    dim=256, layers=3, heads=4, kv_heads=2, head_dim=32, ffn_dim=384, vocab=600, context=64
)
PROMPT = [5, 9, 59, 0, 33, 33, 8, 77, 91, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 500]


class Overlapped(Interpreter):
    """Units run side by side, each as fast as chance has it."""

    random: Random

    def _run(self, progress: Callable[[int], None]) -> int:
        self.queues: dict[Unit, deque[tuple[int, list[int]]]] = {one: deque() for one in QUEUED}
        self.tokens = {(a, b): 0 for a in QUEUED for b in QUEUED}
        index, puts = 0, 0
        instructions = self.program.instructions
        while True:
            one = instructions[index]
            # Sometimes much is queued before any of it runs, sometimes little.
            while self.random.random() < 0.4 and self._step():
                pass
            if one.unit is Unit.CONTROL:
                waits = QUEUED if one.name == "halt" else one.units("wait")
                while any(self.queues[unit] for unit in waits):
                    assert self._step(), "tokens must never dead-lock"
                if one.name == "halt":
                    return puts
                index = self._control(index, one)
                continue
            self.queues[one.unit].append((index, list(self.state.registers)))
            puts += one.name == "put"
            index += 1

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
        now[Register.TOKEN] = (
            registers[Register.TOKEN] if one.name == "argmax" else now[Register.TOKEN]
        )
        self.state.registers = now
        for target in one.units("signal"):
            self.tokens[unit, target] += 1
        return True

    def _has_tokens(self, unit: Unit) -> bool:
        index, _ = self.queues[unit][0]
        one = self.program.instructions[index]
        return all(self.tokens[source, unit] for source in one.units("wait"))


def compiled(policy: str, config: str = "demo") -> tuple[Program, Any]:
    checkpoint = RandomCheckpoint(SHAPE, named_policy(policy), seed=7)
    return compile_program(SHAPE, checkpoint.policy, PRESETS[config], model="random"), checkpoint


@pytest.mark.parametrize("policy", ["skipgpt", "skipgpt-dense-kv", "skipgpt-layer-input", "off"])
@pytest.mark.parametrize("config", ["demo", "u280"])
def test_units_that_run_as_they_like_change_no_bit(policy: str, config: str) -> None:
    program, checkpoint = compiled(policy, config)
    image = build_image(program, checkpoint)
    expected = Interpreter(program, image).generate(PROMPT, 8)
    overlapped = Overlapped(program, image)
    for seed in range(3):
        overlapped.random = Random(seed)
        found = overlapped.generate(PROMPT, 8)
        assert found.token_ids == expected.token_ids
        assert (found.executed == expected.executed).all()
        assert not any(overlapped.tokens.values())


def without_waits(program: Program, unit: Unit, names: tuple[str, ...]) -> Program:
    """Return a Program in which some instructions no longer wait for a unit."""
    instructions: list[Instruction] = list(program.instructions)
    for index, one in enumerate(instructions):
        if one.name in names and unit in one.units("wait"):
            values = {**one.values, "wait": one["wait"] & ~(1 << unit)}
            instructions[index] = Instruction(one.name, values)
    return replace(program, instructions=tuple(instructions))


@pytest.mark.parametrize(
    ("unit", "names"),
    [
        (Unit.NPE, ("matmul",)),
        (Unit.ARRAY, ("rotate", "swiglu", "divide", "residual")),
        (Unit.KV, ("scores",)),
        (Unit.ROUTER, ("branch.empty",)),
        (Unit.DMA, ("reduce", "normalise")),
    ],
)
def test_a_forgotten_token_shows(unit: Unit, names: tuple[str, ...]) -> None:
    program, checkpoint = compiled("skipgpt")
    expected = Interpreter(program, build_image(program, checkpoint)).generate(PROMPT, 8)
    spoilt = without_waits(program, unit, names)
    assert spoilt.words != program.words
    assert any(_differs(spoilt, checkpoint, seed, expected) for seed in range(3))


def _differs(program: Program, checkpoint: Any, seed: int, expected: Any) -> bool:
    overlapped = Overlapped(program, build_image(program, checkpoint))
    overlapped.random = Random(seed)
    try:
        # What is read too early may be anything, and is no operand that the machine ever has.
        with np.errstate(all="ignore"):
            found = overlapped.generate(PROMPT, 8)
    except (MachineError, ValueError):
        return True
    if found.token_ids != expected.token_ids:
        return True
    return bool((found.executed != expected.executed).any())
