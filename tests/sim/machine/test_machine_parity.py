"""The performance model takes the cycles that the RTL takes; a drift of either is seen here."""

import pytest

from hwroute.api.programs import compile_model
from hwroute.errors import CheckFailedError
from hwroute.isa.fields import Unit
from hwroute.paths import build_dir
from hwroute.policy_terms import KVRule
from hwroute.sim.machine.log import Event, Kind
from hwroute.sim.performance.parity import CLASS_LIMIT, TOTAL_LIMIT, compare_all, page
from hwroute.sim.performance.parity_cases import CASES, TINY
from hwroute.sim.performance.parity_runs import (
    Pair,
    Parity,
    Span,
    largest,
    paired,
    spans_of_log,
    sums,
)

CLASSES = 20
"""Mnemonics that run at all: those of every unit but ``store``, for which nothing is spilled."""


@pytest.fixture(scope="module")
def parities(tmp_path_factory: pytest.TempPathFactory) -> list[Parity]:
    folder = tmp_path_factory.mktemp("parity")
    return list(compare_all(folder, build_dir() / "machine"))


@pytest.mark.cpp
def test_cycles_are_those_of_the_rtl(parities: list[Parity]) -> None:
    misses = {one.case.name: one.miss for one in parities}
    assert len(misses) >= 12
    assert max(map(abs, misses.values())) < TOTAL_LIMIT, misses


@pytest.mark.cpp
def test_so_are_those_of_every_class_of_instructions(parities: list[Parity]) -> None:
    classes = {name: one.miss for name, one in sums(parities).items()}
    assert len(classes) == CLASSES
    assert max(map(abs, classes.values())) < CLASS_LIMIT, classes


@pytest.mark.cpp
def test_the_page_has_every_run_and_class(parities: list[Parity]) -> None:
    text = page(parities)
    for name in (*(case.name for case in CASES), *(f"`{name}`" for name in sums(parities))):
        assert f"| {name} |" in text


def test_the_cases_cover_what_there_is() -> None:
    assert {case.rule for case in CASES} >= {None, KVRule.REUSE, KVRule.DENSE, KVRule.EVICT}
    assert {bool(case.memory.stall) for case in CASES} == {False, True}
    assert len({case.memory.half_periods for case in CASES}) >= 3
    assert len({case.memory.latency for case in CASES}) >= 4
    assert len({case.name for case in CASES}) == len(CASES)


def event(kind: Kind, cycle: int, index: int) -> Event:
    """Return an instruction's issue or end."""
    from hwroute.rtl.issue_layouts import DONE, ISSUED

    layout = ISSUED if kind is Kind.ISSUE else DONE
    return Event(kind=kind, unit=Unit.NPE, cycle=cycle, payload=index << layout["index"].offset)


def test_spans_go_from_issue_to_end() -> None:
    log = [event(Kind.ISSUE, 3, 7), event(Kind.ISSUE, 5, 8)]
    log += [event(Kind.DONE, 20, 7), event(Kind.DONE, 31, 8)]
    spans = spans_of_log(log)[Unit.NPE]
    assert [(one.index, one.issued, one.retired, one.cycles) for one in spans] == [
        (7, 3, 20, 17),
        (8, 5, 31, 26),
    ]
    with pytest.raises(ValueError, match="cycle 9: not instruction 7 ended"):
        spans_of_log([event(Kind.ISSUE, 3, 7), event(Kind.DONE, 9, 8)])


def span(index: int, cycles: float) -> Span:
    return Span(index=index, issued=10, retired=10 + cycles)


def test_other_instructions_are_refused() -> None:
    program = compile_model(TINY)
    npe = next(at for at, one in enumerate(program.instructions) if one.unit is Unit.NPE)
    pairs = paired(program, {Unit.NPE: [span(npe, 4)]}, {Unit.NPE: [span(npe, 5)]})
    assert [pair.name for pair in pairs[Unit.NPE]] == [program.instructions[npe].name]
    with pytest.raises(CheckFailedError, match="other instructions of npe"):
        paired(program, {Unit.NPE: [span(npe, 4)]}, {Unit.NPE: [span(npe + 1, 5)]})


def test_sums_and_misses() -> None:
    """Of a class over all units and runs; the largest miss in cycles comes first."""
    pairs = {
        Unit.NPE: [Pair(name="rotate", rtl=span(1, 100), model=span(1, 98))],
        Unit.ARRAY: [
            Pair(name="scores", rtl=span(2, 50), model=span(2, 60)),
            Pair(name="scores", rtl=span(3, 150), model=span(3, 150)),
        ],
    }
    one = Parity(case=CASES[0], rtl_cycles=1000, model_cycles=1020, pairs=pairs, skipped=(0.2, 0.3))
    assert one.miss == pytest.approx(0.02)
    found = sums([one, one])
    assert found["scores"].count == 4
    assert found["scores"].miss == pytest.approx(0.05)
    assert found["rotate"].miss == pytest.approx(-0.02)
    assert [pair.rtl.index for pair in largest(one)] == [2, 1, 3]
