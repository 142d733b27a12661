"""Make a failing Program small.

Hypothesis would shrink the draws that a Program was made from, and each draw moves all behind it.
Here instructions are taken away from the Program itself, so what is left fails for the old reason.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from hwroute.errors import InputError
from hwroute.isa.fields import Unit
from hwroute.isa.instruction import Instruction
from hwroute.program import Program
from hwroute.sim.random_programs.case import RandomCase
from hwroute.sim.random_programs.effects import with_tokens
from hwroute.sim.random_programs.rules import is_legal

Fails = Callable[[RandomCase], bool]
Instructions = tuple[Instruction, ...]
SIZES = ("columns", "lines", "heads", "count", "elements")
"""Fields that are tried smaller, as ``value`` of a ``set`` is: rows of a tile, times of a loop."""
PAIRED = 3
"""Longest run of instructions that is tried at every place."""


def shrink(case: RandomCase, fails: Fails) -> RandomCase:
    """Return a case from which nothing can be taken so that it still fails.

    Every Program that is tried has the tokens that its instructions need, and is legal
    (`hwroute.sim.random_programs.rules`). Fewer instructions first, then smaller fields; again
    until neither helps. A failure that needs tokens which nothing else needs stays as it is.

    Parameters
    ----------
    case
        A legal case that fails.
    fails
        Tells whether a case does; only legal ones are shown to it.

    Raises
    ------
    ValueError
        The case does not fail.
    """
    if not fails(case):
        raise ValueError("a case must fail to be made small")
    return _Shrinker(case, fails).run()


class _Shrinker:
    """The smallest case so far."""

    def __init__(self, case: RandomCase, fails: Fails):
        self.case = case
        self.fails = fails

    def run(self) -> RandomCase:
        self._try(self.instructions)
        while True:
            before = self.case
            self._take_away()
            self._make_fields_small()
            if self.case is before:
                return self.case

    @property
    def instructions(self) -> Instructions:
        """What is left."""
        return self.case.program.instructions

    def _take_away(self) -> None:
        """Take away runs of instructions, half of them first and one by one last."""
        size = max(1, len(self.instructions) // 2)
        while True:
            start = 0
            while start < len(self.instructions) - 1:
                if not self._try(_without(self.instructions, start, start + size)):
                    # Short runs at every place, for some instructions go in pairs only.
                    start += size if size > PAIRED else 1
            if size == 1:
                return
            size //= 2

    def _make_fields_small(self) -> None:
        for index in range(len(self.instructions)):
            one = self.instructions[index]
            for name in SIZES if one.name != "set" else ("value",):
                if name in one.values:
                    self._lower(index, name)

    def _lower(self, index: int, name: str) -> None:
        """Try the least value of a field, and numbers between."""
        least = max(1, self.instructions[index].opcode.by_name[name].least)
        while self.instructions[index][name] > least:
            now = self.instructions[index][name]
            if not any(self._try_value(index, name, value) for value in (least, now // 2, now - 1)):
                return

    def _try_value(self, index: int, name: str, value: int) -> bool:
        one = self.instructions[index]
        if not one.opcode.by_name[name].least <= value < one[name]:
            return False
        changed = Instruction(one.name, {**one.values, name: value})
        return self._try((*self.instructions[:index], changed, *self.instructions[index + 1 :]))

    def _try(self, instructions: Sequence[Instruction]) -> bool:
        """Keep instructions instead of what there is, if they are legal and still fail."""
        case = self._case_of(instructions)
        if case is None or not is_legal(case) or not self.fails(case):
            return False
        self.case = case
        return True

    def _case_of(self, instructions: Sequence[Instruction]) -> RandomCase | None:
        program = self.case.program
        try:
            ordered = with_tokens(_bare(instructions), program.tile)
            return self.case.with_program(_program(program, ordered))
        except (InputError, AssertionError):
            return None


def _program(program: Program, instructions: Instructions) -> Program:
    blank = ("",) * len(instructions)
    return replace(program, instructions=instructions, labels={}, operations=blank, notes=blank)


def _bare(instructions: Sequence[Instruction]) -> Instructions:
    """Return instructions without tokens; what the sequencer waits for stays."""
    return tuple(
        one
        if one.unit is Unit.CONTROL
        else Instruction(one.name, {**one.values, "wait": 0, "signal": 0})
        for one in instructions
    )


def _without(instructions: Instructions, start: int, stop: int) -> Instructions:
    """Return instructions without some, but with the last; who went there goes on behind them."""
    stop = min(stop, len(instructions) - 1)
    left = [*instructions[:start], *instructions[stop:]]
    moved = []
    for one in left:
        if "target" in one.values and one["target"] > start:
            target = max(start, one["target"] - (stop - start))
            one = Instruction(one.name, {**one.values, "target": target})
        moved.append(one)
    return tuple(moved)
