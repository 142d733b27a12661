# amaranth: UnusedElaboratable=no
"""A compiled Program: the units are given what the interpreter runs, in the same order."""

from collections import deque
from typing import Any

from hwroute import api
from hwroute.config import PRESETS
from hwroute.csr import Error
from hwroute.isa.fields import PLANES, QUEUED, Kind, Register, Unit
from hwroute.isa.instruction import Instruction
from hwroute.models.interpreter import Interpreter
from hwroute.models.tile import Values

PROMPT = "The dog ran to the big house"
"""Longer than a tile."""
COUNT = 3


class Recorder:
    """An observer: what each instruction was given, and what it changed that control reads."""

    def __init__(self) -> None:
        self.given: dict[Unit, list[tuple[int, int, int, int]]] = {unit: [] for unit in QUEUED}
        self.planes: deque[list[list[bool]]] = deque()
        self.tokens: deque[int] = deque()

    def __call__(self, interpreter: Interpreter, index: int, written: Values) -> None:
        state, one = interpreter.state, interpreter.program.instructions[index]
        named = [field.name for field in one.opcode.fields if field.kind is Kind.REGISTER]
        value = state.registers[one[named[0]]] if named else 0
        self.given[one.unit].append((index, state.position, state.row_count, value))
        if one.unit is Unit.ROUTER:
            self.planes.append(state.planes.tolist())
        if one.name == "argmax" and one["last"]:
            self.tokens.append(state.registers[Register.TOKEN])


class Replayed:
    """The changes of a recorded run, in the order in which units end."""

    def __init__(self, recorder: Recorder):
        self.recorder = recorder
        self.planes: list[list[bool]] = [[]] * PLANES

    def end(self, one: Any, instruction: Instruction) -> int | None:
        if instruction.unit is Unit.ROUTER:
            self.planes = self.recorder.planes.popleft()
        if instruction.name == "argmax" and instruction["last"]:
            return self.recorder.tokens.popleft()
        return None


def test_units_are_given_what_the_interpreter_runs(bench: Any) -> None:
    model = api.load("tiny")
    program = api.compile_model("tiny", config=PRESETS["demo"])
    recorder = Recorder()
    prompt = api.encode(model, PROMPT)
    assert len(prompt) > program.tile
    interpreter = Interpreter(program, api.make_image(program, model), observer=recorder)
    interpreter.generate(prompt, COUNT)
    outcome = bench().run(
        [one.encode() for one in program.instructions],
        chances=bench.chances(memory=(1, 5), idle=0.2, work=(1, 9)),
        effects=Replayed(recorder),
        prompt=len(prompt),
        generate=COUNT,
        stop=0xFFFFFFFF,
        tile=program.tile,
        limit=100_000,
    )
    assert outcome.error is Error.NONE
    for unit in QUEUED:
        given = recorder.given[unit]
        assert [one.seen for one in outcome.of(unit)] == given
        assert outcome.events[f"{unit.name.lower()}_instructions"] == len(given) > 0
    assert not recorder.planes
    assert not recorder.tokens
