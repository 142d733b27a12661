"""Where time goes, use of units, K and V, and the bound: each figure by its definition."""

from dataclasses import replace

import pytest

from hwroute import api
from hwroute.config import PRESETS
from hwroute.isa.fields import LINE_BYTES, Unit
from hwroute.policy_terms import KVRule
from hwroute.sim.performance.breakdown import (
    WAITING,
    array_cycles,
    busy_cycles,
    operation_kinds,
    stretch,
)
from hwroute.sim.performance.generation import Performance
from hwroute.sim.performance.interpolation import effective
from hwroute.sim.performance.metrics import bound, hbm_rate, kv_figures, utilization
from hwroute.sim.performance.tables import tables


def perf(**options) -> Performance:
    given = {"prefill": 20, "decode": 8, "skip": 0.3, "config": PRESETS["demo"], **options}
    return api.perf("tiny", **given)


@pytest.fixture(scope="module")
def result() -> Performance:
    return perf()


def test_what_the_array_works_on_fills_the_time(result) -> None:
    kinds = operation_kinds(result.setup.program)
    for run in (result.prefill, *result.steps.values()):
        cycles = array_cycles(run, kinds)
        start, end = stretch(run)
        assert sum(cycles.values()) == pytest.approx(end - start)
        assert min(cycles.values()) >= 0
        worked = sum(cycles.values()) - cycles[WAITING]
        assert worked == pytest.approx(busy_cycles(run, Unit.ARRAY))


def test_an_operation_alone_has_the_time_from_issue_to_end(result) -> None:
    kinds = operation_kinds(result.setup.program)
    run = next(iter(result.steps.values()))
    array = [one for one in run.events if one.unit is Unit.ARRAY]
    scores = [one for one in array if kinds[one.index] == "attention.scores"]
    assert scores
    # Attention has the array alone.
    spent = sum(one.retired - one.issued for one in scores)
    assert array_cycles(run, kinds)["attention.scores"] == pytest.approx(spent)


def test_tables_add_up(result) -> None:
    time, moved, _ = tables(result)
    assert sum(row[1] for row in time.rows) == pytest.approx(result.prefill_seconds * 1e3)
    token = result.decode_seconds / len(result.cycles) * 1e6
    assert sum(row[3] for row in time.rows) == pytest.approx(token)
    total = result.traffic.hbm + result.traffic.ddr + result.traffic.kinds["kv_hits"]
    assert sum(row[2] for row in moved.rows) == pytest.approx(total / len(result.cycles) / 1e6)


@pytest.mark.parametrize("skip", [0, 0.3, 0.6])
def test_nothing_is_used_more_than_wholly_and_the_bound_holds(skip) -> None:
    result = perf(skip=skip)
    shares = utilization(result)
    assert {"array", "npe", "hbm", "ddr", "multipliers"} < set(shares)
    assert all(0 <= share <= 1 for share in shares.values())
    limit = bound(result)
    assert result.tokens_per_second < limit.tokens_per_second
    slowest = max(result.traffic.hbm / hbm_rate(result), limit.seconds["ddr"] * 7)
    assert 1 / limit.tokens_per_second == pytest.approx(slowest / 7)


def test_a_slow_ddr_is_what_bounds(result) -> None:
    setup = replace(result.setup, parameters=replace(result.setup.parameters, ddr_share=0.05))
    slow = replace(result, setup=setup)
    assert bound(slow).by == "ddr"
    assert bound(slow).seconds["ddr"] == pytest.approx(20 * bound(result).seconds["ddr"])


def test_delivered_bytes_are_those_of_every_entry_attended_to(result) -> None:
    for position, run in result.steps.items():
        executed = effective(result.setup.program, result.setup.workload)[:, 0, position]
        # K and V of two heads, a line each, of every earlier token.
        assert run.handed_bytes == int(executed.sum()) * position * 2 * 2 * LINE_BYTES
    kv = kv_figures(result)
    assert kv.hit_share == result.traffic.kinds["kv_hits"] / result.total(
        lambda run: run.handed_bytes
    )
    seconds = result.total(lambda run: run.read_cycles) / result.hertz
    assert kv.delivered_gb_s * 1e9 * seconds == pytest.approx(
        result.total(lambda run: run.handed_bytes)
    )
    assert 0 < kv.physical_utilization < 1


@pytest.mark.parametrize("rule", [KVRule.REUSE, KVRule.DENSE, KVRule.EVICT])
def test_storage_saved_is_an_identity_of_the_decisions(rule) -> None:
    result = perf(kv=rule, decode=2)
    attention = effective(result.setup.program, result.setup.workload)[:, 0]
    expected = 0 if rule is KVRule.DENSE else 1 - attention.mean()
    assert kv_figures(result).storage_saved == pytest.approx(expected)
    assert attention.mean() < 0.85


def test_a_prompt_alone_has_no_figures_of_decode() -> None:
    result = perf(decode=1)
    assert utilization(result) == {}
    assert kv_figures(result).delivered_gb_s == 0
    assert bound(result).tokens_per_second == 0
    assert result.tokens_per_second == result.bandwidth_efficiency == 0
