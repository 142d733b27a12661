"""The journal has every bit that instructions write: replayed, it makes the final memories."""

from typing import Any

import numpy as np
import pytest

from hwroute.compiler import compile_program
from hwroute.config import PRESETS
from hwroute.isa.fields import Register
from hwroute.models.image import build_image
from hwroute.models.interpreter import Interpreter, Journal
from hwroute.models.interpreter.journal import Space, Write
from hwroute.models.interpreter.moves import write_ids
from hwroute.models.interpreter.state import State
from hwroute.models.library import named_policy
from hwroute.models.random_weights import RandomCheckpoint
from hwroute.shape import ModelShape

SHAPE = ModelShape(
    dim=256, layers=3, heads=4, kv_heads=2, head_dim=32, ffn_dim=384, vocab=600, context=64
)
PROMPT = [5, 9, 59, 0, 33, 33, 8, 77, 91, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 500]
MEMORIES = {
    Space.SCRATCHPAD: "scratchpad",
    Space.STATISTICS: "statistics",
    Space.DDR: "ddr",
    Space.HBM: "hbm",
    Space.PLANES: "planes",
}


def journalled(policy: str, config: str) -> tuple[Interpreter, Journal]:
    checkpoint = RandomCheckpoint(SHAPE, named_policy(policy), seed=7)
    program = compile_program(SHAPE, checkpoint.policy, PRESETS[config], model="random")
    journal = Journal()
    return Interpreter(program, build_image(program, checkpoint), journal=journal), journal


def replay(write: Write, memory: np.ndarray[Any, Any]) -> None:
    """Write what an instruction wrote."""
    places: Any = write.places
    if places.ndim == 2:
        places = tuple(places.T)
    if write.mask is None:
        memory[places] = write.bits
    else:
        memory[places] = np.where(write.mask, write.bits, memory[places])


@pytest.mark.parametrize("policy", ["skipgpt", "skipgpt-dense-kv", "off"])
@pytest.mark.parametrize("config", ["demo", "u280"])
def test_a_replay_makes_the_final_memories(policy: str, config: str) -> None:
    interpreter, journal = journalled(policy, config)
    # The second run must leave nothing of the first.
    interpreter.generate(PROMPT[:3], 1)
    interpreter.generate(PROMPT, 3)
    program = interpreter.program
    start = State(program.config, interpreter.image, program.tile)
    write_ids(start, program.memory.region("ids").address, PROMPT)
    token = 0
    for step in journal.steps:
        for write in step.writes:
            if write.space in MEMORIES:
                replay(write, getattr(start, MEMORIES[write.space]))
            elif write.space is Space.TOKEN:
                token = int(write.bits[0])
    for name in MEMORIES.values():
        assert (getattr(start, name) == getattr(interpreter.state, name)).all(), name
    assert token == interpreter.state.registers[Register.TOKEN]


def test_the_journal_is_what_the_observer_sees() -> None:
    """Slots and orders, which are in no memory of the State, and the instructions themselves."""
    seen = []
    interpreter, journal = journalled("skipgpt", "demo")
    interpreter.observer = lambda one, index, written: seen.append(
        (index, one.state.position, one.state.row_count, written)
    )
    interpreter.generate(PROMPT, 3)
    assert [(one.index, one.position, one.rows) for one in journal.steps] == [
        one[:3] for one in seen
    ]
    kinds = set()
    for step, (*_, written) in zip(journal.steps, seen, strict=True):
        found = {one.space: one for one in step.writes}
        for space in (Space.SLOTS, Space.ORDER):
            expected = written.get(space.value, np.zeros((0, 1)))
            assert (space in found) == bool(len(expected))
            if space in found:
                kinds.add(space)
                assert (found[space].bits == expected).all()
                assert len(found[space].places) == len(expected)
    assert kinds == {Space.SLOTS, Space.ORDER}


def test_rows_and_masks_are_those_of_the_operand() -> None:
    interpreter, journal = journalled("skipgpt", "demo")
    interpreter.generate(PROMPT, 2)
    masked = 0
    for step in journal.steps:
        for write in step.writes:
            assert len(write.places) % len(write.rows) == 0
            assert len(write.bits) == len(write.places)
            if write.space is Space.SCRATCHPAD and write.mask is not None:
                one, offset = step.instruction, 0
                if "offset" in one.values:
                    offset = one["offset"]
                    offset *= 2 if one.name == "matmul" and one.choice("format") == "fp32" else 1
                by_row = write.mask.reshape(len(write.rows), -1)
                assert by_row[:, offset:].all()
                assert not by_row[:, :offset].any()
                masked += bool(offset)
    assert masked


def test_what_the_host_writes_is_not_kept() -> None:
    interpreter, journal = journalled("off", "demo")
    interpreter.generate(PROMPT, 1)
    writes = [one for step in journal.steps for one in step.writes if one.operand == "ids"]
    assert len(writes) == 1
    interpreter.state.write_id(0, 0, 1)
    assert sum(one.space is Space.DDR for step in journal.steps for one in step.writes) == 1
