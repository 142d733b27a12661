"""Random Programs are legal, the same each time, and reach what they should."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from hwroute.errors import InputError
from hwroute.isa.fields import QUEUED, Unit
from hwroute.isa.instruction import Instruction
from hwroute.sim.random_programs.case import MismatchError, Outcome, RandomCase, check, golden
from hwroute.sim.random_programs.coverage import KEYS, coverage, table
from hwroute.sim.random_programs.effects import with_tokens
from hwroute.sim.random_programs.generate import random_case
from hwroute.sim.random_programs.overlapped import overlapped
from hwroute.sim.random_programs.setting import CONFIGS

PAIRS = [(giver, taker) for giver in QUEUED for taker in QUEUED if giver is not taker]


@pytest.fixture(scope="module")
def cases() -> list[RandomCase]:
    return [random_case(seed) for seed in range(1, 201)]


def test_a_seed_makes_one_case(cases: list[RandomCase]) -> None:
    again = random_case(1)
    assert again.program == cases[0].program
    assert (again.image.hbm == cases[0].image.hbm).all()
    assert (again.image.ddr == cases[0].image.ddr).all()
    assert (again.prompt, again.generate) == (cases[0].prompt, cases[0].generate)
    assert len({case.program.hash for case in cases}) == len(cases)
    assert {case.program.config for case in cases} == set(CONFIGS)


def test_units_at_any_pace_change_no_bit(cases: list[RandomCase]) -> None:
    for case in cases[:30]:
        for pace in range(2):
            check(case, partial(overlapped, seed=pace))


def test_each_thing_happens_often(cases: list[RandomCase]) -> None:
    counts = coverage(cases)
    assert not [key for key in KEYS if counts[key] < 20]
    assert len(table(counts).splitlines()) == len(KEYS)


def without(case: RandomCase, giver: Unit, taker: Unit) -> RandomCase:
    """Return the case without the tokens from one unit to another."""

    def strip(one: Instruction) -> Instruction:
        values = dict(one.values)
        if one.unit is giver:
            values["signal"] &= ~(1 << taker)
        if one.unit is taker:
            values["wait"] &= ~(1 << giver)
        return Instruction(one.name, values)

    instructions = tuple(strip(one) for one in case.program.instructions)
    return case.with_program(replace(case.program, instructions=instructions))


def is_seen(case: RandomCase, pace: int) -> bool:
    """Tell whether a run at some pace goes wrong."""
    # What is read too early is no operand that a machine ever has.
    with np.errstate(all="ignore"):
        try:
            check(case, partial(overlapped, seed=pace))
        except (MismatchError, InputError, ValueError, IndexError):
            return True
    return False


def runs(cases: list[RandomCase], giver: Unit, taker: Unit) -> Iterator[tuple[RandomCase, int]]:
    for case in cases:
        spoilt = without(case, giver, taker)
        if spoilt.program.words != case.program.words:
            yield from ((spoilt, pace) for pace in range(2))


@pytest.mark.parametrize(("giver", "taker"), PAIRS)
def test_forgotten_tokens_show(cases: list[RandomCase], giver: Unit, taker: Unit) -> None:
    assert any(is_seen(spoilt, pace) for spoilt, pace in runs(cases, giver, taker))


def test_some_tokens_are_more_than_needed(cases: list[RandomCase]) -> None:
    def count(instructions: tuple[Instruction, ...]) -> int:
        return sum(len(one.units("signal")) for one in instructions)

    more = [
        count(one.program.instructions) - count(with_tokens(one.program.instructions, 1))
        for one in cases[:20]
    ]
    assert sum(extra > 0 for extra in more) > 10


@pytest.mark.parametrize("name", ["scratchpad", "statistics", "hbm", "ddr", "planes", "registers"])
def test_a_wrong_bit_is_found(cases: list[RandomCase], name: str) -> None:
    def spoil(case: RandomCase) -> Outcome:
        found = golden(case)
        memory = found.memories[name]
        memory.reshape(-1)[-1] ^= True
        return found

    with pytest.raises(MismatchError, match=f"seed 3: {name}.* must be"):
        check(cases[2], spoil)


def test_other_tokens_and_shapes_are_found(cases: list[RandomCase]) -> None:
    with pytest.raises(MismatchError, match="token ids"):
        check(cases[2], lambda _: Outcome(token_ids=(1,) * 99, memories={}))
    small = {"statistics": np.zeros(1, np.uint32)}
    with pytest.raises(MismatchError, match="shape"):
        check(cases[2], lambda one: replace(golden(one), memories=small))
