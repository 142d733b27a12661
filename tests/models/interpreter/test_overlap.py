"""Queues and tokens alone keep a Program's order: units that run as they like change no bit."""

from dataclasses import replace
from random import Random
from typing import Any

import numpy as np
import pytest

from hwroute.compiler import compile_program
from hwroute.config import PRESETS
from hwroute.isa.fields import Unit
from hwroute.isa.instruction import Instruction
from hwroute.models.image import build_image
from hwroute.models.interpreter import Interpreter, MachineError
from hwroute.models.library import named_policy
from hwroute.models.random_weights import RandomCheckpoint
from hwroute.program import Program
from hwroute.shape import ModelShape
from hwroute.sim.random_programs.overlapped import Overlapped

SHAPE = ModelShape(
    dim=256, layers=3, heads=4, kv_heads=2, head_dim=32, ffn_dim=384, vocab=600, context=64
)
PROMPT = [5, 9, 59, 0, 33, 33, 8, 77, 91, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 500]


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
