"""Switches of the performance model: what each changes, and what it does not."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hwroute.api.programs import compile_model
from hwroute.config import PRESETS
from hwroute.isa.fields import Unit
from hwroute.memory_config import KVMapping
from hwroute.sim.performance.executor import Machine, Setup
from hwroute.sim.performance.fusion import separated_tokens
from hwroute.sim.performance.parameters import Parameters
from hwroute.sim.performance.result import Run
from hwroute.sim.performance.workload import Rates, synthetic

DEMO = PRESETS["demo"]
PROMPT, COUNT, LAYERS = 40, 12, 6


def setup_of(mapping: KVMapping = KVMapping.TOKEN, **switches: Any) -> Setup:
    config = replace(DEMO, memory=replace(DEMO.memory, kv_mapping=mapping))
    program = compile_model("tiny", config=config)
    workload = synthetic(Rates.uniform(LAYERS, 0.3), prompt=PROMPT, generate=COUNT)
    return Setup(program=program, workload=workload, parameters=Parameters(**switches))


def run_of(mapping: KVMapping = KVMapping.TOKEN, **switches: Any) -> Run:
    return Machine(setup_of(mapping, **switches)).run()


@pytest.fixture(scope="module")
def plain() -> Run:
    return run_of()


def names(run: Run) -> list[tuple[int, int, int]]:
    return sorted((one.index, one.position, one.rows) for one in run.events)


def spans(run: Run, name: str) -> Any:
    return np.array([one.retired - one.issued for one in run.events if one.name == name])


def test_unfused_norms_keep_one_token_for_all_parts() -> None:
    program = compile_model("tinyllama-1.1b", config=PRESETS["u280"], context=64)
    fused = [(one.units("wait"), one.units("signal")) for one in program.instructions]
    pairs = separated_tokens(program)
    changed = [index for index, one in enumerate(pairs) if one != fused[index]]
    assert changed
    assert {program.instructions[index].name for index in changed} == {"normalise", "matmul"}
    for tokens in (fused, pairs):
        given = sum(
            Unit.ARRAY in signal and one.unit is Unit.NPE
            for (_, signal), one in zip(tokens, program.instructions, strict=True)
        )
        taken = sum(
            Unit.NPE in wait and one.unit is Unit.ARRAY
            for (wait, _), one in zip(tokens, program.instructions, strict=True)
        )
        assert given == taken


def test_without_fusion_the_same_bytes_take_longer(plain) -> None:
    apart = run_of(fused=False)
    assert names(apart) == names(plain)
    assert dict(apart.traffic.kinds) == dict(plain.traffic.kinds)
    assert apart.cycles > plain.cycles
    for name in ("reduce", "scores"):
        assert (spans(apart, name) >= spans(plain, name)).all()
        assert spans(apart, name).sum() > spans(plain, name).sum()


def test_interleaved_entries_have_the_same_bytes_on_every_port(plain) -> None:
    spread = run_of(KVMapping.INTERLEAVED)
    assert names(spread) == names(plain)
    kinds, other = spread.traffic.kinds, plain.traffic.kinds
    assert kinds["kv_written"] == other["kv_written"]
    assert kinds["weights"] == other["weights"]
    # What the buffer serves, and is filled with, depends on orders, which are the same.
    assert kinds["kv_hits"] == other["kv_hits"]
    assert kinds["kv_read"] == other["kv_read"]
    busy = np.array(spread.port_busy)
    assert busy.max() == pytest.approx(busy.min(), rel=1e-3)
    assert np.ptp(plain.port_busy) > 10 * np.ptp(busy)
