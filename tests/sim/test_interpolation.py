"""Decode steps between those that are simulated, and what they are interpolated with."""

from dataclasses import replace

import numpy as np
import pytest

from hwroute import api
from hwroute.config import PRESETS
from hwroute.models.ops.kv import KVMemory
from hwroute.policy_terms import KVRule
from hwroute.sim.performance import generation
from hwroute.sim.performance.expected_rounds import attended
from hwroute.sim.performance.generation import step_cycles
from hwroute.sim.performance.interpolation import FEATURES, Interpolation, features

CONFIG = PRESETS["demo"].kv
LAYERS, TOKENS = 6, 200


def decisions(seed: int, skip: float) -> np.ndarray:
    executed = np.random.default_rng(seed).random((LAYERS, TOKENS)) >= skip
    executed[0] = True
    return executed


def orders(executed: np.ndarray, rule: KVRule, position: int, *, buffered: bool) -> list[int]:
    """Return the rounds of each layer that the step at a position executes."""
    kv = KVMemory(CONFIG)
    for token in range(position + 1):
        for layer in range(LAYERS):
            if executed[layer, token] or rule is KVRule.DENSE:
                kv.write(layer, token)
            elif rule is KVRule.REUSE:
                kv.skip(layer, token)
            else:
                kv.evict(layer, token)
    rounds = []
    for layer in range(LAYERS):
        if executed[layer, position]:
            ahead = buffered and layer + 1 < LAYERS
            rounds.append(len(kv.attend(layer, position, ahead)))
        else:
            kv.invalidate()
    return rounds


@pytest.mark.parametrize("rule", [KVRule.REUSE, KVRule.DENSE, KVRule.EVICT])
def test_rounds_without_a_buffer_are_those_of_the_directory(rule) -> None:
    executed = decisions(1, 0.3)
    met = attended(executed, rule, CONFIG, keeps=False)
    for position in (1, 37, 150):
        here = executed[:, position]
        expected = orders(executed, rule, position, buffered=False)
        assert met.walked[here, position].tolist() == expected


def test_rounds_with_a_buffer_are_nearly_those_of_the_directory() -> None:
    executed = decisions(2, 0.25)
    # All tokens that skip fit the buffer.
    position = 120
    executed[:, position] = True
    met = attended(executed, KVRule.REUSE, CONFIG)
    assert met.entries[:, position].tolist() == [position] * LAYERS
    found = np.array(orders(executed, KVRule.REUSE, position, buffered=True)[1:])
    assert np.abs(met.queued[1:, position] / found - 1).max() < 0.15


def perf(**options):
    given = {"prefill": 16, "decode": 160, "skip": 0.3, "config": PRESETS["demo"], **options}
    return api.perf("tiny", **given)


def test_features_say_what_a_step_meets() -> None:
    setup = perf(decode=12).setup
    table = features(setup)
    assert table.shape == (11, len(FEATURES))
    without = features(replace(setup, parameters=replace(setup.parameters, history_buffer=False)))
    reused, queued, walked = (FEATURES.index(name) for name in ("reused", "queued", "walked"))
    assert (without[:, [reused, queued]] == 0).all()
    assert (without[:, walked] >= table[:, walked]).all()


@pytest.mark.parametrize("rule", [KVRule.REUSE, KVRule.DENSE, KVRule.EVICT])
def test_a_few_steps_say_what_all_take(rule) -> None:
    some = perf(kv=rule)
    every = generation.measure(some.setup, samples=None)
    assert len(some.steps) < 50
    assert len(every.steps) == 159
    off = abs(some.decode_seconds / every.decode_seconds - 1)
    assert off <= 2 * some.error
    assert some.error < 0.005


def test_more_steps_are_simulated_where_few_say_too_little(monkeypatch) -> None:
    few = perf()
    monkeypatch.setattr(generation, "ERROR", few.error / 2)
    more = perf()
    assert more.error <= few.error / 2
    assert len(more.steps) > len(few.steps)
    assert set(few.steps) < set(more.steps)
    assert list(more.steps) == sorted(more.steps)
    monkeypatch.setattr(generation, "ERROR", 0)
    every = perf(decode=40)
    assert len(every.steps) == 39
    assert every.error == 0


def test_figures_that_add_up_do_so_after_interpolation() -> None:
    rng = np.random.default_rng(3)
    table = np.column_stack([np.ones(40), rng.random((40, 3))])
    between = Interpolation(table, np.arange(0, 40, 4))
    one, other = rng.random((2, 10))
    assert between.total(one + other) == pytest.approx(between.total(one) + between.total(other))
    weights = np.array([2.0, 3.0, 5.0, 7.0])
    exact = table @ weights
    assert between.total(exact[::4]) == pytest.approx(exact.sum())
    assert between.error(exact[::4]) == pytest.approx(0, abs=1e-9)


def test_cycles_of_simulated_steps_are_their_own() -> None:
    result = perf()
    known = [position - 16 for position in result.steps]
    assert result.cycles[known].tolist() == [step_cycles(run) for run in result.steps.values()]
    assert (result.cycles > 0).all()
