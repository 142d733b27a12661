"""Random legal Programs leave on the machine what they leave on the interpreter, write by write."""

from pathlib import Path

import pytest

from hwroute.config import PRESETS
from hwroute.paths import build_dir
from hwroute.sim.machine.check import check_machine
from hwroute.sim.random_programs.generate import random_case

QUICK, ALL = range(1, 120), range(120, 1500)


@pytest.mark.cpp
@pytest.mark.parametrize(
    "seeds", [QUICK, pytest.param(ALL, marks=pytest.mark.slow)], ids=["some", "many"]
)
def test_programs_of_the_demo_configuration(seeds: range, tmp_path: Path) -> None:
    cases = [case for case in map(random_case, seeds) if case.program.config == PRESETS["demo"]]
    assert len(cases) > len(seeds) // 10
    for case in cases:
        checked = check_machine(
            case.program,
            case.image,
            case.prompt,
            case.generate,
            folder=tmp_path,
            builds=build_dir() / "machine",
            waves=False,
            seed=case.seed,
            stall=0.1 * (case.seed % 4),
            max_cycles=400_000,
        )
        # A Program may put fewer ids, or more, than the host asks for: memories tell.
        assert checked.run.ok, (case.seed, checked.difference)
        assert checked.first is None, (case.seed, str(checked.first))
