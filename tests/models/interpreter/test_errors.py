"""What the interpreter refuses, with the instruction's index, and what small programs do."""

from typing import Any

import numpy as np
import pytest

from hwroute.compiler import compile_program
from hwroute.config import PRESETS
from hwroute.errors import InputError
from hwroute.isa.instruction import Instruction
from hwroute.memory_map import Content, MemoryMap, Region
from hwroute.models.image import Image, build_image
from hwroute.models.interpreter import Interpreter, MachineError
from hwroute.models.library import named_policy
from hwroute.models.random_weights import RandomCheckpoint
from hwroute.program import Program
from hwroute.shape import ModelShape

DEMO = PRESETS["demo"]
SHAPE = ModelShape(
    dim=128, layers=2, heads=2, kv_heads=2, head_dim=64, ffn_dim=128, vocab=60, context=32
)
ROWS, POSITION, PROMPT, TOKEN, T0, T1 = 2, 1, 3, 6, 7, 8


def small(*instructions: tuple[str, dict[str, int]]) -> Interpreter:
    """Return a machine with 64 lines of DDR and 64 beats of HBM, and a program for it."""
    memory = MemoryMap(
        regions=(
            Region(name="ids", content=Content.IDS, address=0, size=4),
            Region(name="rows", content=Content.VECTOR, address=4, size=60),
            Region(name="kv", content=Content.KV, address=0, size=64),
        ),
        context=32,
    )
    listed = tuple(Instruction(name, values) for name, values in (*instructions, ("halt", {})))
    program = Program(
        model="none",
        policy="none",
        config=DEMO,
        memory=memory,
        tile=4,
        instructions=listed,
        labels={},
        operations=("",) * len(listed),
        notes=("",) * len(listed),
    )
    ddr = np.arange(64 * 128, dtype=np.uint64).astype(np.uint8).reshape(64, 128)
    hbm = np.zeros((DEMO.kv.hbm_ports, 64, 32), np.uint8)
    return Interpreter(program, Image(hbm=hbm, ddr=ddr, program=program.hash, model=""))


ONE_ROW = ("set", {"d": ROWS, "value": 1})


def test_registers_count_as_the_table_says() -> None:
    machine = small(
        ("set", {"d": T0, "value": 3}),
        ("add", {"d": T1, "a": T1, "b": PROMPT}),
        ("loop", {"d": T0, "target": 1}),
        ("sub", {"d": POSITION, "a": 0, "b": T1}),
        ("min", {"d": ROWS, "a": T1, "value": 2}),
        ("set", {"d": 0, "value": 9}),
    )
    machine.generate([1, 2], 1)
    registers = machine.state.registers
    assert registers[T1] == 6
    assert registers[POSITION] == (1 << 32) - 6
    assert registers[ROWS] == 2
    assert registers[0] == 0


@pytest.mark.parametrize(
    ("instructions", "message"),
    [
        (
            [ONE_ROW, ("load", {"to": 0, "address": 60, "lines": 5})],
            r"instruction 1: load\.address must lead to a DDR line below 64, not 64",
        ),
        (
            [ONE_ROW, ("load", {"to": 511, "address": 4, "lines": 2})],
            r"instruction 1: load\.to must lead to a scratchpad line below 512, not 512",
        ),
        (
            [ONE_ROW, ("reduce", {"x": 0, "lines": 1, "to": 511, "routed": 1, "pitch": 1})],
            r"instruction 1: reduce\.to must lead to a statistics word below 512, not 513",
        ),
        (
            [ONE_ROW, ("matmul", {"lines": 2, "columns": 300, "first": 1, "last": 1})],
            r"instruction 1: matmul\.weights must lead to a HBM beat below 64, not 151",
        ),
        (
            [ONE_ROW, ("matmul", {"lines": 2, "columns": 17, "first": 1})],
            r"instruction 1: matmul\.columns must be at most 16 without first and last, not 17",
        ),
        (
            [ONE_ROW, ("gather", {"table": 4, "ids": 4, "vocabulary": 5, "lines": 1})],
            r"instruction 1: gather\.ids must lead to token ids below 5, not \d+",
        ),
        (
            [ONE_ROW, ("kv.write", {"lines": 1, "layer": 0})],
            r"instruction 1: kv\.map must come before other instructions of the unit",
        ),
        (
            [
                ONE_ROW,
                ("kv.map", {"vector": 8, "exponents": 1}),
                ("kv.deal", {"layer": 0}),
                ("kv.write", {"lines": 3, "layer": 0}),
            ],
            r"instruction 3: kv\.write\.lines must be 2 \(kv\.map\.vector\), not 3",
        ),
        (
            [ONE_ROW, ("kv.map", {"vector": 8, "exponents": 1}), ("kv.deal", {"layer": 8})],
            r"instruction 2: kv\.deal: layer must be at most 7, not 8",
        ),
        (
            [("reduce", {"x": 0, "lines": 1, "to": 0, "pitch": 1})],
            r"instruction 0: register rows must be from 1 to 4 \(the program's tile\), not 0",
        ),
        ([("loop", {"d": T0, "target": 0})], r"instruction 0: loop\.d must not be 0"),
        (
            [
                ONE_ROW,
                ("kv.map", {"vector": 8, "exponents": 1}),
                (
                    "scores",
                    {
                        "out_pitch": 1,
                        "heads": 1,
                        "queries": 1,
                        "head_lines": 1,
                        "pitch": 1,
                    },
                ),
            ],
            r"instruction 2: scores must have at least one entry \(kv\.order\), not none",
        ),
    ],
)
def test_an_instruction_that_leads_nowhere_stops_the_machine(
    instructions: list[Any], message: str
) -> None:
    with pytest.raises(MachineError, match=message):
        small(*instructions).generate([1], 1)


def test_weights_that_are_written_over_are_unpacked_again() -> None:
    """K and V may not lie on weights; a program that does it all the same sees what it wrote."""
    product = {"x": 0, "out": 8, "lines": 1, "columns": 16, "scales": 8, "first": 1, "last": 1}
    machine = small(
        ONE_ROW,
        ("load", {"to": 0, "address": 4, "lines": 2}),
        ("matmul", {**product, "weights": 0}),
        ("kv.map", {"base": 0, "vector": 8, "exponents": 1}),
        ("kv.deal", {"layer": 0}),
        ("kv.write", {"k": 0, "v": 0, "lines": 2, "layer": 0}),
        ("matmul", {**product, "weights": 0, "out": 9}),
    )
    machine.generate([1], 1)
    before, after = machine.state.scratchpad[8:10]
    assert not before.any()
    assert after.any()


def test_an_instruction_under_an_empty_plane_does_nothing() -> None:
    machine = small(
        ONE_ROW,
        ("decide", {"to": 3, "mode": 2, "pitch": 1}),
        ("load", {"to": 0, "address": 4, "lines": 1, "plane": 3}),
        ("load", {"to": 1, "address": 4, "lines": 1}),
    )
    machine.generate([1], 1)
    assert not machine.state.scratchpad[0].any()
    assert machine.state.scratchpad[1].any()


def compiled() -> tuple[Program, RandomCheckpoint]:
    checkpoint = RandomCheckpoint(SHAPE, named_policy("skipgpt"), seed=4)
    return compile_program(SHAPE, checkpoint.policy, DEMO, model="random"), checkpoint


def test_an_image_of_another_program_is_refused() -> None:
    program, checkpoint = compiled()
    other = compile_program(SHAPE, named_policy("off"), DEMO, model="random")
    with pytest.raises(InputError, match="image must be made for program"):
        Interpreter(other, build_image(program, checkpoint))


@pytest.mark.parametrize(
    ("prompt", "count", "message"),
    [
        ([], 1, r"prompt and tokens to generate must be at least 1, not 0 and 1"),
        ([1], 0, r"prompt and tokens to generate must be at least 1, not 1 and 0"),
        ([1] * 30, 3, r"must fit the program's context of 32, not 30 \+ 3"),
    ],
)
def test_a_prompt_that_does_not_fit_is_refused(prompt: list[int], count: int, message: str) -> None:
    program, checkpoint = compiled()
    machine = Interpreter(program, build_image(program, checkpoint))
    with pytest.raises(InputError, match=message):
        machine.generate(prompt, count)


def test_a_stop_token_ends_the_generation() -> None:
    program, checkpoint = compiled()
    machine = Interpreter(program, build_image(program, checkpoint))
    whole = machine.generate([1, 2, 3], 12)
    stop = whole.token_ids[5]
    first = whole.token_ids.index(stop)
    cut = machine.generate([1, 2, 3], 12, stop=stop)
    assert cut.token_ids == whole.token_ids[: first + 1]
    assert cut.executed.shape[2] == 3 + first


def test_two_runs_of_one_machine_are_equal() -> None:
    program, checkpoint = compiled()
    machine = Interpreter(program, build_image(program, checkpoint))
    first = machine.generate([4, 5, 6], 5)
    machine.generate([7] * 20, 5)
    assert machine.generate([4, 5, 6], 5).token_ids == first.token_ids
