"""Tokens that nothing needs: they change no result, and must balance all the same."""

from collections.abc import Sequence
from random import Random

from hwroute.isa.fields import QUEUED, Unit
from hwroute.isa.instruction import Instruction

MOST = 6
"""Tokens that are added to a Program at most."""


def with_superfluous(
    instructions: Sequence[Instruction], random: Random
) -> tuple[Instruction, ...]:
    """Return instructions with some tokens more, given and taken between two boundaries."""
    found = list(instructions)
    targets = {one["target"] for one in instructions if "target" in one.values}
    for _ in range(random.randint(0, MOST)):
        start = random.randrange(len(found))
        stop = start
        while stop < len(found) and _is_inside(found[stop], stop, targets):
            stop += 1
        if stop - start >= 2:
            first = random.randrange(start, stop - 1)
            _add(found, (start, stop), first, random.randrange(first + 1, stop))
    return tuple(found)


def _is_inside(one: Instruction, index: int, targets: set[int]) -> bool:
    return one.unit is not Unit.CONTROL and index not in targets


def _add(found: list[Instruction], span: tuple[int, int], first: int, second: int) -> None:
    """Let one instruction give a token to another, if every other wait keeps what it waits for."""
    giver, taker = found[first].unit, found[second].unit
    if giver is taker or found[first]["signal"] >> taker & 1 or found[second]["wait"] >> giver & 1:
        return
    begin = span[0]
    while begin > 0 and found[begin - 1].unit is not Unit.CONTROL:
        begin -= 1
    places = range(begin, span[1])
    given = [i for i in places if found[i].unit is giver and found[i]["signal"] >> taker & 1]
    taken = [i for i in places if found[i].unit is taker and found[i]["wait"] >> giver & 1]
    needed = dict(zip(taken, given, strict=True))
    pairs = zip(sorted([*taken, second]), sorted([*given, first]), strict=True)
    if all(needed.get(wait, -1) <= signal < wait for wait, signal in pairs):
        found[first] = _with(found[first], "signal", taker)
        found[second] = _with(found[second], "wait", giver)


def _with(one: Instruction, name: str, unit: Unit) -> Instruction:
    assert unit in QUEUED
    return Instruction(one.name, {**one.values, name: one[name] | 1 << unit})
