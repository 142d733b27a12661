"""A reset in the middle of a run, transactions outstanding, leaves nothing behind."""

from pathlib import Path
from random import Random
from typing import Any

import pytest

from hwroute.csr import Error
from hwroute.rtl.issue_layouts import ISSUED
from hwroute.sim.machine.attempts import Earlier, Reset
from hwroute.sim.machine.check import Checked
from hwroute.sim.machine.log import Kind, field, read_log

PHASES = ("load", "matmul", "scores", "kv.write")
LIMIT = 600_000
LATENCY = 50
"""Cycles of the memories: what is asked for is on its way for a while."""


def spans(short: Any, checked: Checked) -> dict[str, list[range]]:
    """Return for each instruction of some names the cycles from its issue to its end."""
    begun: dict[Any, list[tuple[str, int]]] = {}
    found: dict[str, list[range]] = {name: [] for name in PHASES}
    assert checked.run.log
    for event in read_log(checked.run.log):
        open_ = begun.setdefault(event.unit, [])
        if event.kind is Kind.ISSUE:
            open_.append((short.at(field(ISSUED, event.payload, "index")).name, event.cycle))
        elif event.kind is Kind.DONE:
            name, cycle = open_.pop(0)
            if name in found:
                found[name].append(range(cycle, event.cycle))
    return found


def moments(short: Any, checked: Checked, seed: int) -> list[int]:
    """Return a cycle within an instruction of each phase, soon after its first request."""
    random = Random(seed)
    chosen = [random.choice(found) for found in spans(short, checked).values()]
    cycles = [one.start + random.randrange(30, 60) for one in chosen]
    assert all(cycle in one for cycle, one in zip(cycles, chosen, strict=True))
    return cycles


@pytest.fixture(scope="module")
def slow(short: Any, tmp_path_factory: pytest.TempPathFactory) -> Checked:
    """Run on memories of that latency."""
    checked: Checked = short.check(tmp_path_factory.mktemp("slow"), latency=LATENCY)
    assert checked.match, checked.difference
    return checked


@pytest.mark.cpp
@pytest.mark.parametrize("reset", Reset)
def test_the_run_behind_resets_is_clean(
    short: Any, slow: Checked, tmp_path: Path, reset: Reset
) -> None:
    """Memories that are not reset still answer what the machine before the reset asked for."""
    cuts = moments(short, slow, seed=1 + reset.value)
    before = [Earlier(cut=cut, reset=reset) for cut in cuts]
    checked = short.check(tmp_path, latency=LATENCY, before=before)
    assert len(checked.run.owed) == len(PHASES)
    assert min(checked.run.owed) > 0, "a transaction is outstanding at each reset"
    assert not checked.run.earlier, "no run came to its end"
    assert checked.match, checked.difference
    assert checked.run.counters == slow.run.counters


@pytest.mark.cpp
@pytest.mark.parametrize("reset", Reset)
@pytest.mark.parametrize("half_periods", [(2, 1), (7, 3)])
def test_clocks_and_stalls_change_nothing(
    short: Any, slow: Checked, tmp_path: Path, reset: Reset, half_periods: tuple[int, int]
) -> None:
    """Each reset of one kind follows one of the other."""
    kinds = [reset, *(one for one in Reset if one is not reset)] * 2
    cuts = moments(short, slow, seed=sum(half_periods))
    before = [Earlier(cut=cut, reset=kind) for cut, kind in zip(cuts, kinds, strict=True)]
    settings = {"half_periods": half_periods, "stall": 0.2, "seed": 7, "latency": LATENCY}
    checked = short.check(tmp_path, before=before, **settings)
    assert sum(checked.run.owed) > 0
    assert checked.match, checked.difference


@pytest.mark.cpp
def test_a_reset_may_come_before_the_memories_have_answered_the_one_before(
    short: Any, fresh: Checked, tmp_path: Path
) -> None:
    """The memories take longer to answer than the host does to reset and start again."""
    before = [Earlier(cut=cut, reset=Reset.MACHINE) for cut in (100, 5)]
    checked = short.check(tmp_path, latency=500, max_cycles=LIMIT, before=before)
    assert min(checked.run.owed) > 0
    assert checked.match, checked.difference
    assert checked.run.token_ids == fresh.run.token_ids


@pytest.mark.cpp
def test_a_run_that_waited_too_long_for_a_memory_is_over_for_the_next(
    short: Any, tmp_path: Path
) -> None:
    """First the program's words come too late, then what the first product reads."""
    before = [Earlier(arguments={"timeout": cycles}) for cycles in (50, 150)]
    checked = short.check(tmp_path, latency=100, before=before)
    endings = [(one.error, one.error_unit, one.error_index) for one in checked.run.earlier]
    product = short.first("matmul")
    assert endings == [
        (Error.TIMEOUT, 0, 0),
        (Error.TIMEOUT, 1 + short.at(product).unit, product),
    ]
    assert all(one.finished for one in checked.run.earlier)
    assert checked.match, checked.difference
