"""A wrong program ends with an error status that names unit and instruction; nothing hangs."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hwroute import api
from hwroute.compiler import compile_program
from hwroute.config import PRESETS
from hwroute.csr import Error
from hwroute.isa.fields import ADDRESS_BITS, Kind, Unit
from hwroute.isa.instruction import WORD_BYTES, Instruction, encode_all
from hwroute.memory_map import Content
from hwroute.models.image import Image, build_image
from hwroute.program import Program
from hwroute.sim.machine.host import region_of
from hwroute.sim.machine.run import MachineRun, run_machine

PROMPT = (70, 105)
LIMIT = 60_000
"""Cycles; a whole run takes half of them."""


@pytest.fixture(scope="module")
def made() -> tuple[Program, Image]:
    tiny = api.load("tiny")
    program = compile_program(tiny.shape, tiny.policy, PRESETS["demo"], model=tiny.name)
    return program, build_image(program, tiny)


def with_word(image: Image, program: Program, index: int, word: bytes) -> Image:
    """Return an image in which an instruction is another word."""
    ddr = image.ddr.copy()
    words = ddr[region_of(program, Content.PROGRAM) :].reshape(-1, WORD_BYTES)
    words[index] = np.frombuffer(word, np.uint8)
    return replace(image, ddr=ddr)


def first(program: Program, name: str) -> int:
    """Return the index of the first instruction of a name."""
    return next(at for at, one in enumerate(program.instructions) if one.name == name)


def run(program: Program, image: Image, folder: Path) -> MachineRun:
    return run_machine(
        program, image, PROMPT, 1, folder=folder, timeout=5000, max_cycles=LIMIT, log=False
    )


LAST = {kind: (1 << bits) - 1 for kind, bits in ADDRESS_BITS.items()}


@pytest.mark.cpp
@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("gather", {"table": LAST[Kind.DDR]}),
        ("load", {"address": LAST[Kind.DDR]}),
        ("load", {"to": LAST[Kind.SCRATCHPAD]}),
        ("gather", {"vocabulary": 1}),
        ("matmul", {"weights": LAST[Kind.HBM]}),
        ("matmul", {"scales": LAST[Kind.DDR]}),
        ("matmul", {"x": LAST[Kind.SCRATCHPAD]}),
        ("values", {"out": LAST[Kind.SCRATCHPAD]}),
        ("reduce", {"x": LAST[Kind.SCRATCHPAD]}),
        ("normalise", {"squares": LAST[Kind.STATISTIC]}),
        ("decide", {"logits": LAST[Kind.STATISTIC]}),
        ("kv.deal", {"layer": 200}),
        ("kv.write", {"lines": 3}),
        ("kv.order", {"layer": 8}),
    ],
    ids=lambda value: value if isinstance(value, str) else next(iter(value)),
)
def test_an_instruction_that_cannot_be_done_is_named(
    made: tuple[Program, Image], tmp_path: Path, name: str, fields: dict[str, int]
) -> None:
    program, image = made
    index = first(program, name)
    right = program.instructions[index]
    wrong = Instruction(name, {**right.values, **fields})
    got = run(program, with_word(image, program, index, encode_all([wrong])), tmp_path)
    assert got.finished
    assert (got.error, got.error_index) == (Error.UNIT, index)
    assert got.error_unit == 1 + right.unit
    assert not got.token_ids


@pytest.mark.cpp
def test_a_program_that_breaks_off_is_named(made: tuple[Program, Image], tmp_path: Path) -> None:
    program, image = made
    index = first(program, "kv.write")
    got = run(program, with_word(image, program, index, bytes(WORD_BYTES)), tmp_path)
    assert got.finished
    assert (got.error, got.error_unit, got.error_index) == (Error.OPCODE, 0, index)


@pytest.mark.cpp
def test_a_token_that_never_comes_is_a_dead_lock(
    made: tuple[Program, Image], tmp_path: Path
) -> None:
    """The first product waits for the router, which has nothing to do before it."""
    program, image = made
    index = first(program, "matmul")
    right = program.instructions[index]
    waits = right.values["wait"] | 1 << Unit.ROUTER
    wrong = Instruction("matmul", {**right.values, "wait": waits})
    got = run(program, with_word(image, program, index, encode_all([wrong])), tmp_path)
    assert got.finished
    assert got.error is Error.DEADLOCK
    # Of those that wait, in the end for the product, the first unit's is named.
    named = program.instructions[got.error_index]
    assert got.error_unit == 1 + named.unit
    assert named.values["wait"]
    assert got.counters["array_instructions"] == 0
