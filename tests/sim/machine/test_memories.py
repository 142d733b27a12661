"""What is wrong in DDR or HBM after a run is told by the instruction that should have written."""

from typing import Any

import numpy as np
import pytest

from hwroute.compiler import compile_program
from hwroute.config import PRESETS
from hwroute.models.image import build_image
from hwroute.models.interpreter import Interpreter, Journal
from hwroute.models.interpreter.journal import Space, Step, Write
from hwroute.models.library import named_policy
from hwroute.models.random_weights import RandomCheckpoint
from hwroute.shape import ModelShape
from hwroute.sim.machine.memories import compare_memories

SHAPE = ModelShape(
    dim=128, layers=2, heads=4, kv_heads=2, head_dim=32, ffn_dim=128, vocab=150, context=64
)


@pytest.fixture(scope="module")
def interpreter() -> Interpreter:
    checkpoint = RandomCheckpoint(SHAPE, named_policy("skipgpt"), seed=7)
    program = compile_program(SHAPE, checkpoint.policy, PRESETS["demo"], model="random")
    one = Interpreter(program, build_image(program, checkpoint), journal=Journal())
    one.generate([5, 9, 59, 0, 33], 3)
    return one


@pytest.fixture
def memories(interpreter: Interpreter) -> tuple[np.ndarray, np.ndarray]:
    """Memories of the machine, longer than the image."""
    ddr = interpreter.state.ddr.view(np.uint8).reshape(-1, 128)
    return np.pad(ddr, ((0, 9), (0, 0))), np.pad(interpreter.state.hbm, ((0, 0), (0, 9), (0, 0)))


def written(one: Interpreter, space: Space) -> list[tuple[Step, Write]]:
    """Return the writes to a memory, with their instructions."""
    assert one.state.journal
    found = [(s, w) for s in one.state.journal.steps for w in s.writes if w.space is space]
    assert len(found) > 2
    return found


def test_equal_memories(interpreter: Interpreter, memories: Any) -> None:
    assert compare_memories(interpreter, *memories) is None


def test_the_first_instruction_at_fault_is_told(interpreter: Interpreter, memories: Any) -> None:
    """A later one is wrong too, and so is what nobody wrote."""
    ddr, hbm = memories
    wanted = written(interpreter, Space.HBM)
    for (_, write), number in ((wanted[-1], 3), (wanted[1], 5)):
        port, beat = write.places[-1]
        hbm[port, beat, number] ^= 64
        hbm[port, -1, 0] = 1
    step, write = wanted[1]
    found = compare_memories(interpreter, ddr, hbm)
    assert found is not None
    assert (found.kind, found.index, found.position, found.cycle) == (
        "memory",
        step.index,
        step.position,
        -1,
    )
    assert found.place is not None
    port, beat = write.places[-1].tolist()
    assert found.place.at == {"port": port, "beat": beat, "element": 5}
    value = int(write.bits[-1, 5])
    assert found.interpreter == f"0x{value:x} ({value})"
    assert found.machine.startswith(f"0x{value ^ 64:x} ")
    assert str(found).startswith("after the run, unit kv")


def test_a_token_id_that_is_wrong(interpreter: Interpreter, memories: Any) -> None:
    ddr, hbm = memories
    step, write = written(interpreter, Space.DDR)[-1]
    assert write.mask is not None
    lane = int(np.argmax(write.mask[0]))
    ddr[write.places[0], 2 * lane] ^= 1
    found = compare_memories(interpreter, ddr, hbm)
    assert found is not None
    assert (found.kind, found.unit, found.mnemonic) == ("memory", "dma", "put")
    assert found.place is not None
    assert found.place.at["line"] == write.places[0]
    assert step.instruction.name == "put"


@pytest.mark.parametrize("number", [0, -1])
def test_what_no_instruction_wrote(interpreter: Interpreter, memories: Any, number: int) -> None:
    """In the image, here the program, and behind it."""
    ddr, hbm = memories
    line = interpreter.program.memory.region("program").address if number == 0 else len(ddr) - 1
    ddr[line, 4] ^= 1
    found = compare_memories(interpreter, ddr, hbm)
    assert found is not None
    assert (found.kind, found.unit) == ("extra", "dma")
    assert found.place is not None
    assert found.place.at == {"line": line, "element": 2}
    assert found.interpreter.startswith("nothing, leaving 0x")


def test_what_cannot_be_compared(interpreter: Interpreter, memories: Any) -> None:
    ddr, hbm = memories
    with pytest.raises(ValueError, match="memory must be at least"):
        compare_memories(interpreter, ddr[:9], hbm)
    without = Interpreter(interpreter.program, interpreter.image)
    with pytest.raises(ValueError, match="must have a journal"):
        compare_memories(without, ddr, hbm)
