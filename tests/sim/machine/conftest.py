"""A short run of `tiny`, whole and without error, that the others are compared with."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hwroute import api
from hwroute.compiler import compile_program
from hwroute.config import PRESETS
from hwroute.isa.instruction import Instruction
from hwroute.models.image import Image, build_image
from hwroute.paths import build_dir
from hwroute.program import Program
from hwroute.sim.machine.check import Checked, check_machine

LIMIT = 60_000
"""Cycles; a whole run takes half of them."""


@dataclass(frozen=True, kw_only=True)
class Short:
    """A Program with what it runs on, and one token generated from a prompt of two."""

    program: Program
    image: Image
    prompt = (70, 105)

    def first(self, name: str) -> int:
        """Return the index of the first instruction of a name."""
        return next(at for at, one in enumerate(self.program.instructions) if one.name == name)

    def at(self, index: int) -> Instruction:
        """Return an instruction."""
        return self.program.instructions[index]

    def check(self, folder: Path, *, image: Image | None = None, **settings: Any) -> Checked:
        """Run it; every write and all memories are compared with the interpreter's."""
        return check_machine(
            self.program,
            image or self.image,
            self.prompt,
            1,
            folder=folder,
            builds=build_dir() / "machine",
            waves=False,
            **{"timeout": 5000, "max_cycles": LIMIT, **settings},
        )


@pytest.fixture(scope="session")
def short() -> Short:
    tiny = api.load("tiny")
    program = compile_program(tiny.shape, tiny.policy, PRESETS["demo"], model=tiny.name)
    return Short(program=program, image=build_image(program, tiny))


@pytest.fixture(scope="session")
def fresh(short: Short, tmp_path_factory: pytest.TempPathFactory) -> Checked:
    checked = short.check(tmp_path_factory.mktemp("fresh"))
    assert checked.match, checked.difference
    return checked
