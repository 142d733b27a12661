"""Latency, stalls and clocks of the memories change no bit, and no order of K and V."""

from pathlib import Path

import pytest

from hwroute import api
from hwroute.compiler import compile_program
from hwroute.config import PRESETS
from hwroute.models.generate import with_rule
from hwroute.models.image import build_image
from hwroute.paths import build_dir
from hwroute.policy_terms import KVRule
from hwroute.sim.machine.check import check_machine
from hwroute.sim.machine.log import Kind, read_log

CLOCKS = ((1, 1), (2, 1), (7, 3))


@pytest.mark.cpp
@pytest.mark.slow
@pytest.mark.parametrize("rule", [KVRule.REUSE, KVRule.DENSE])
def test_ten_seeds_give_the_same_text_and_records(rule: KVRule, tmp_path: Path) -> None:
    """Every run equals the interpreter, so each other; orders are among what is compared."""
    tiny = api.load("tiny")
    policy = with_rule(tiny.policy, routing=True, kv=rule)
    program = compile_program(tiny.shape, policy, PRESETS["demo"], model=tiny.name)
    image, prompt = build_image(program, tiny), list(api.encode(tiny, "First Cit"))
    orders, cycles = set(), set()
    for seed in range(1, 11):
        checked = check_machine(
            program,
            image,
            prompt,
            4,
            folder=tmp_path,
            builds=build_dir() / "machine",
            seed=seed,
            stall=0.05 * seed,
            latency=3 * seed,
            half_periods=CLOCKS[seed % len(CLOCKS)],
        )
        assert checked.match, checked.difference
        assert checked.run.log
        events = read_log(checked.run.log)
        orders.add(tuple(event.payload for event in events if event.kind is Kind.ENTRY))
        cycles.add(checked.run.cycles)
    assert len(orders) == 1
    assert len(next(iter(orders))) > 100
    assert len(cycles) == 10
