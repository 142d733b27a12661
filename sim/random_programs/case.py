"""A random Program with all that a run of it needs, and the check of a machine against golden."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwroute.models.image import Image
from hwroute.models.interpreter.run import Interpreter
from hwroute.program import Program


@dataclass(frozen=True, kw_only=True)
class RandomCase:
    """A Program and what it is run with.

    Parameters
    ----------
    program, image
        What runs, and what the memories hold before.
    prompt
        Token ids that the host writes.
    generate
        Value of the register of that name.
    seed
        What the case was made from.
    """

    program: Program
    image: Image
    prompt: tuple[int, ...]
    generate: int
    seed: int

    def with_program(self, program: Program) -> "RandomCase":
        """Return the case with another Program at the same place."""
        image = replace(self.image, program=program.hash, ddr=self.image.ddr.copy())
        place_program(program, image.ddr)
        return replace(self, program=program, image=image)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a run leaves.

    Parameters
    ----------
    token_ids
        Ids that ``put`` wrote behind the prompt.
    memories
        Whatever else is known, by name: ``scratchpad``, ``statistics``, ``hbm``, ``ddr``,
        ``planes``, ``registers``, ``executed``, in the form of the interpreter's `State`.
    """

    token_ids: tuple[int, ...]
    memories: Mapping[str, NDArray[Any]]


Execute = Callable[[RandomCase], Outcome]


class MismatchError(Exception):
    """A machine did not do what the interpreter does; the message says where first."""


def place_program(program: Program, ddr: NDArray[np.uint8]) -> None:
    """Write the words of a Program to their region of DDR [lines, 128]."""
    region = program.memory.region("program")
    octets = ddr[region.address : region.end].reshape(-1)
    octets[:] = 0
    octets[: len(program.words)] = np.frombuffer(program.words, np.uint8)


def outcome_of(interpreter: Interpreter, case: RandomCase) -> Outcome:
    """Run an interpreter of the case's Program and return all that it leaves.

    Raises
    ------
    MachineError, ValueError
        The Program is not legal.
    """
    made = interpreter.generate(case.prompt, case.generate)
    state = interpreter.state
    memories: dict[str, NDArray[Any]] = {
        name: getattr(state, name).copy()
        for name in ("scratchpad", "statistics", "hbm", "ddr", "planes")
    }
    memories["registers"] = np.array(state.registers, np.uint32)
    memories["executed"] = interpreter.executed.copy()
    return Outcome(token_ids=tuple(made.token_ids), memories=memories)


def golden(case: RandomCase) -> Outcome:
    """Return what the interpreter leaves."""
    return outcome_of(Interpreter(case.program, case.image), case)


def check(case: RandomCase, execute: Execute) -> None:
    """Run a case on a machine and compare all that it tells with the interpreter.

    Raises
    ------
    MismatchError
        Something differs.
    """
    expected, found = golden(case), execute(case)
    if found.token_ids != expected.token_ids:
        raise MismatchError(
            f"seed {case.seed}: token ids must be {expected.token_ids}, not {found.token_ids}"
        )
    for name, memory in found.memories.items():
        wanted = expected.memories[name]
        if memory.shape != wanted.shape:
            raise MismatchError(
                f"seed {case.seed}: {name} must have shape {wanted.shape}, not {memory.shape}"
            )
        places = np.argwhere(memory != wanted)
        if len(places):
            place = tuple(int(index) for index in places[0])
            raise MismatchError(
                f"seed {case.seed}: {name}{list(place)} must be {int(wanted[place]):#x}, "
                f"not {int(memory[place]):#x} ({len(places)} places differ)"
            )
