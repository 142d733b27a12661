"""Many Programs: chunks are kept, run once, and added up; the page tells all of it."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from hwroute.config import PRESETS, Config
from hwroute.sim.random_programs import campaign
from hwroute.sim.random_programs.campaign import CHUNK, Tallies, run_campaign
from hwroute.sim.random_programs.case import RandomCase
from hwroute.sim.random_programs.coverage import KEYS
from hwroute.sim.random_programs.on_machine import Ran
from hwroute.sim.random_programs.page import LEAST, page, seldom, total_of

DEMO = PRESETS["demo"]
SEEDS = range(1, 2 * CHUNK + 11)
BAD = 2 * CHUNK + 3


class Machines:
    """Stand in for machines: note the seeds that run, let one fail, stop at one.

    Members
    -------
    name
        Of the machines.
    seeds
        That ran.
    stop
        One that cannot be run.
    """

    def __init__(self) -> None:
        self.name = "x"
        self.seeds: list[int] = []
        self.stop = 0

    def build(self, config: Config, *, folder: Path) -> Path:
        return folder / f"{self.name}-{config.name}" / "harness"

    def run(self, case: RandomCase, *, folder: Path, builds: Path) -> Ran:
        assert folder.is_dir()
        if case.seed == self.stop:
            raise KeyboardInterrupt
        self.seeds.append(case.seed)
        counts = Counter({KEYS[0]: 1, KEYS[1]: case.seed})
        bad = "it stopped" if case.seed == BAD else ""
        return Ran(difference=bad, instructions=2, cycles=3, counts=counts)


@pytest.fixture
def machines(monkeypatch: pytest.MonkeyPatch) -> Machines:
    found = Machines()
    monkeypatch.setattr(campaign, "run_on_machine", found.run)
    monkeypatch.setattr(campaign, "build_machine", found.build)
    return found


def run(kept: Path, **settings: Any) -> Tallies:
    return run_campaign(SEEDS, DEMO, builds=kept, kept=kept, jobs=1, **settings)


def test_every_program_is_run_once_and_counted(machines: Machines, tmp_path: Path) -> None:
    done: list[int] = []
    (tally,) = run(tmp_path, progress=done.append).values()
    assert machines.seeds == list(SEEDS)
    assert done == [CHUNK, CHUNK, 10]
    assert (tally.programs, tally.instructions, tally.cycles) == (110, 220, 330)
    assert tally.of(KEYS[0]) == 110
    assert tally.of(KEYS[1]) == sum(SEEDS)
    assert tally.failures == {BAD: "it stopped"}


def test_what_was_stopped_goes_on(machines: Machines, tmp_path: Path) -> None:
    machines.stop = CHUNK + 7
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path)
    machines.stop = 0
    first = run(tmp_path)
    # The chunk that was cut off runs again, the one before does not.
    again = list(range(CHUNK + 1, CHUNK + 7))
    assert machines.seeds == [*range(1, CHUNK + 1), *again, *range(CHUNK + 1, SEEDS.stop)]
    assert run(tmp_path) == first
    assert len(machines.seeds) == len(SEEDS) + len(again)


def test_other_machines_or_sources_begin_anew(
    machines: Machines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path)
    machines.name = "y"
    run(tmp_path)
    monkeypatch.setattr(campaign, "hash_of_files", lambda files: f"{len(list(files))} files")
    run(tmp_path)
    assert machines.seeds == 3 * list(SEEDS)


def test_configurations_are_drawn(machines: Machines, tmp_path: Path) -> None:
    found = run_campaign(range(1, 21), None, builds=tmp_path, kept=tmp_path, jobs=1)
    assert sorted(machines.seeds) == list(range(1, 21))
    assert len(found) > 2
    assert total_of(found).programs == 20


def test_the_page_tells_what_ran_and_what_is_seldom(machines: Machines, tmp_path: Path) -> None:
    tallies = run(tmp_path)
    assert machines.seeds == list(SEEDS)
    text = page(tallies, SEEDS, "python -m this")
    assert "`python -m this`" in text
    assert "from the seeds 1 to 110" in text
    assert "1 differ." in text
    assert "| demo | 110 | 220 | 330 | 1 |\n| all | 110 | 220 | 330 | 1 |" in text
    assert f"| {KEYS[1][0]} | {KEYS[1][1]} | {sum(SEEDS):,} | {sum(SEEDS):,} |" in text
    assert seldom(total_of(tallies)) == list(KEYS[2:])
    assert f"not {' '.join(KEYS[2])}, " in text
    tallies["demo"].counts.update({" ".join(key): LEAST for key in KEYS})
    tallies["demo"].failures.clear()
    enough = page(tallies, SEEDS, "python -m this")
    assert "None differs." in enough
    assert f"at least {LEAST} times in all: yes." in enough
