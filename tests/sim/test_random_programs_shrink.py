"""Programs that break a rule are found, and those that fail are made small."""

from dataclasses import replace

import pytest

from hwroute.errors import InputError
from hwroute.isa.fields import Register, Unit
from hwroute.isa.instruction import Instruction
from hwroute.sim.random_programs.case import RandomCase, golden
from hwroute.sim.random_programs.coverage import coverage
from hwroute.sim.random_programs.generate import random_case
from hwroute.sim.random_programs.rules import is_legal, require_legal
from hwroute.sim.random_programs.shrink import shrink


def names(case: RandomCase) -> list[str]:
    return [one.name for one in case.program.instructions]


@pytest.mark.parametrize("seed", range(300, 306))
def test_random_programs_keep_the_rules(seed: int) -> None:
    require_legal(random_case(seed))


def test_one_instruction_is_left_with_what_it_needs() -> None:
    def fails(case: RandomCase) -> bool:
        return any(one.name == "rotate" and one["heads"] >= 2 for one in case.program.instructions)

    case = next(case for case in map(random_case, range(50)) if fails(case))
    small = shrink(case, fails)
    assert names(small) == ["set", "load", "rotate", "halt"]
    (one,) = (one for one in small.program.instructions if one.name == "rotate")
    assert one["heads"] == 2
    assert one.units("wait") == (Unit.DMA,)
    assert one.units("signal") == ()
    assert is_legal(small)
    assert small.image.program == small.program.hash


def test_a_pair_keeps_its_token() -> None:
    def fails(case: RandomCase) -> bool:
        every = case.program.instructions
        return any(
            one.name == "kv.order" and Unit.ARRAY in one.units("signal") for one in every
        ) and any(one.name == "values" for one in every)

    small = shrink(next(case for case in map(random_case, range(50)) if fails(case)), fails)
    found = names(small)
    assert found.count("kv.order") == found.count("scores") == found.count("values") == 1
    assert found.index("kv.map") < found.index("kv.order") < found.index("scores")
    assert "loop" not in found
    assert "matmul" not in found
    assert len(found) < 16
    assert is_legal(small)


def test_a_failure_of_the_run_survives() -> None:
    """The predicate may look at what a run leaves: here, that a loop writes ids."""

    def fails(case: RandomCase) -> bool:
        return "loop" in names(case) and len(set(golden(case).token_ids)) > 1

    # Behind a short prompt: ids that are read are few steps away.
    case = next(one for one in map(random_case, range(300)) if len(one.prompt) < 3 and fails(one))
    small = shrink(case, fails)
    assert fails(small)
    assert {"loop", "put"} <= set(names(small))
    assert len(names(small)) <= 10


def test_what_does_not_fail_is_refused() -> None:
    with pytest.raises(ValueError, match="must fail"):
        shrink(random_case(1), lambda _: False)


def changed(case: RandomCase, name: str, **values: int) -> RandomCase:
    """Return the case with other fields in all instructions of a name."""
    instructions = tuple(
        Instruction(one.name, {**one.values, **values}) if one.name == name else one
        for one in case.program.instructions
    )
    return case.with_program(replace(case.program, instructions=instructions))


def first(name: str, **values: int) -> RandomCase:
    """Return the first case that has such an instruction and runs one of its name."""

    def has(case: RandomCase) -> bool:
        there = any(
            one.name == name and all(one[field] == value for field, value in values.items())
            for one in case.program.instructions
        )
        return there and coverage([case])["opcode", name] > 0

    return next(case for case in map(random_case, range(100)) if has(case))


def unfilled(case: RandomCase) -> RandomCase:
    """Return the case without what fills the scratchpad at its start."""
    instructions = tuple(
        Instruction("sync", {}) if one.name == "load" and one["lines"] > 99 else one
        for one in case.program.instructions
    )
    return case.with_program(replace(case.program, instructions=instructions))


@pytest.mark.parametrize(
    ("case", "rule"),
    [
        (changed(first("branch.empty"), "branch.empty", wait=0), "router"),
        (changed(first("matmul", first=0), "matmul", first=0), "partial sums"),
        (changed(first("argmax"), "argmax", first=0), "argmax"),
        (changed(first("values"), "scores", heads=1, first=5, queries=255), "scores"),
        (unfilled(first("swiglu")), "never written"),
        (changed(first("put", value=Register.TOKEN), "sync", wait=0), "token"),
    ],
)
def test_rules_are_held(case: RandomCase, rule: str) -> None:
    with pytest.raises(InputError, match=rule):
        require_legal(case)
