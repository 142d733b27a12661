"""Random legal Programs leave on the machine what they leave on the interpreter, write by write."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hwroute.config import PRESETS
from hwroute.errors import HwrouteError
from hwroute.paths import build_dir
from hwroute.program import Program
from hwroute.sim.machine_faults import load_faults
from hwroute.sim.random_programs import on_machine
from hwroute.sim.random_programs.campaign import run_campaign
from hwroute.sim.random_programs.case import RandomCase
from hwroute.sim.random_programs.coverage import KEYS, coverage, table
from hwroute.sim.random_programs.generate import random_case
from hwroute.sim.random_programs.on_machine import conditions, explain, run_on_machine
from hwroute.sim.random_programs.page import LEAST, seldom, total_of
from hwroute.sim.random_programs.setting import CONFIGS

DEMO = PRESETS["demo"]
BUILDS = build_dir() / "machine"
QUICK, ALL = range(1, 201), range(1, 10_001)
CHUNK = 20


@pytest.mark.cpp
@pytest.mark.parametrize("start", range(QUICK.start, QUICK.stop, CHUNK))
def test_programs_at_demo(start: int, tmp_path: Path) -> None:
    for seed in range(start, start + CHUNK):
        case = random_case(seed, DEMO)
        if run_on_machine(case, folder=tmp_path, builds=BUILDS).difference:
            pytest.fail(explain(case, folder=tmp_path, builds=BUILDS))


def test_these_programs_meet_each_thing_often() -> None:
    counts = coverage(random_case(seed, DEMO) for seed in QUICK)
    assert [key for key in KEYS if counts[key] < LEAST] == [], table(counts)


def test_conditions_vary_with_the_seed() -> None:
    found = [conditions(seed) for seed in QUICK]
    assert found == [conditions(seed) for seed in QUICK]
    for name, values in (
        ("stall", on_machine.STALLS),
        ("latency", on_machine.LATENCIES),
        ("half_periods", on_machine.CLOCKS),
    ):
        counts = [sum(one[name] == value for one in found) for value in values]
        assert min(counts) >= LEAST, name


@pytest.mark.slow
@pytest.mark.cpp
def test_programs_of_all_configurations() -> None:
    """On all cores, and from where it was stopped: finished chunks are kept in the build folder."""
    tallies = run_campaign(ALL, None, builds=BUILDS, kept=build_dir() / "random_programs")
    total = total_of(tallies)
    failures = sorted(total.failures)
    if failures:
        pytest.fail(explain(random_case(failures[0]), folder=BUILDS / "failure", builds=BUILDS))
    assert total.programs == len(ALL)
    assert set(tallies) == {config.name for config in CONFIGS}
    assert {name: seldom(one) for name, one in tallies.items()} == {name: [] for name in tallies}


@pytest.mark.slow
@pytest.mark.cpp
@pytest.mark.parametrize(("name", "unit"), [("npe-silu-sign", "npe"), ("scores-maximum", "array")])
def test_a_fault_of_the_machine_is_shown_by_a_few_instructions(
    name: str, unit: str, tmp_path: Path
) -> None:
    fault = 1 + [one.name for one in load_faults()].index(name)
    settings: dict[str, Any] = {"folder": tmp_path, "builds": BUILDS, "fault": fault}
    cases = (random_case(seed, DEMO) for seed in QUICK)
    case = next(one for one in cases if run_on_machine(one, **settings).difference)
    lines = explain(case, **settings).splitlines()
    assert f"unit {unit}" in lines[0]
    code = lines[lines.index("", 4) + 1 :]
    assert code[-1].strip() == "halt"
    assert len(code) <= 10, "\n".join(lines)


def test_a_program_that_fails_is_made_small(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def has(case: RandomCase) -> bool:
        return any(one.name == "rotate" and one["heads"] >= 2 for one in case.program.instructions)

    def run(program: Program, *_: Any, **settings: Any) -> Any:
        if any(one.name == "rotate" and one["heads"] >= 2 for one in program.instructions):
            raise HwrouteError(f"an assertion failed under seed {settings['seed']}")
        fine = SimpleNamespace(ok=True, cycles=9)
        return SimpleNamespace(run=fine, first=None, lockstep=SimpleNamespace(instructions=1))

    monkeypatch.setattr(on_machine, "check_machine", run)
    case = next(case for case in map(random_case, range(50)) if has(case))
    lines = explain(case, folder=tmp_path, builds=tmp_path).splitlines()
    why = f"an assertion failed under seed {case.seed}"
    assert lines[0] == f"seed {case.seed} at {case.program.config.name}: {why}"
    assert lines[1] == f"4 of {len(case.program.instructions)} instructions still fail: {why}"
    assert [line.split()[0] for line in lines[-4:]] == ["set", "load", "rotate", "halt"]
    other = next(case for case in map(random_case, range(50)) if not has(case))
    with pytest.raises(ValueError, match="must fail"):
        explain(other, folder=tmp_path, builds=tmp_path)
