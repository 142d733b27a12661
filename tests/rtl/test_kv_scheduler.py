"""The KV scheduler's orders and slots equal the golden model's, and take the stated cycles."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hwroute import timing
from hwroute.config import PRESETS, KVConfig
from hwroute.kv import KVOp
from hwroute.models.ops.kv import KVMemory, KVRequest
from hwroute.paths import build_dir
from hwroute.rtl.emit import emit
from hwroute.rtl.kv_scheduler import KVScheduler
from hwroute.sim.replay import differences
from hwroute.sim.replay_kv import KVReplay, decode_log, replay
from hwroute.sim.units import Run, UnitSimulation

DEMO = replace(PRESETS["demo"].kv, buffer_tokens=16)
"""Too small a buffer for the longer runs, so that capacity is exceeded."""


@pytest.fixture(scope="module")
def demo() -> UnitSimulation:
    return UnitSimulation(KVScheduler(DEMO), folder=build_dir())


def replayed(
    simulation: UnitSimulation, log: list[KVRequest], folder: Path, stall: float
) -> tuple[KVReplay, Run]:
    work = replay(log)
    return work, simulation.run(work.inputs, work.expect, folder=folder, stall=stall, seed=7)


def run(
    simulation: UnitSimulation, log: list[KVRequest], folder: Path, stall: float
) -> tuple[list[int], int]:
    """Replay and compare; return each request's cycles and the number of records."""
    work, got = replayed(simulation, log, folder, stall)
    assert differences(work.golden, work.records(got.outputs)) == []
    assert np.array_equal(got.outputs["slots"]["token"], work.outputs["slots"]["token"])
    assert np.array_equal(got.outputs["slots"]["layer"], work.outputs["slots"]["layer"])
    return np.diff(got.in_cycles["i"]).tolist(), len(work.golden)


@pytest.mark.cpp
@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize("skip", [0.0, 0.25, 0.5, 1.0])
def test_decoding_gives_the_golden_records(
    demo: UnitSimulation, tmp_path: Path, skip: float, stall: float
) -> None:
    log = decode_log(DEMO, tokens=48, layers=6, skip=skip, seed=11)
    _, compared = run(demo, log, tmp_path, stall)
    assert compared == sum(request.op in (KVOp.ATTEND, KVOp.WRITE) for request in log)


@pytest.mark.cpp
def test_evicted_tokens_and_a_second_sequence_give_the_golden_records(
    demo: UnitSimulation, tmp_path: Path
) -> None:
    first = decode_log(DEMO, tokens=24, layers=8, skip=0.4, seed=12, evict=0.5)
    second = decode_log(DEMO, tokens=24, layers=8, skip=0.4, seed=13, evict=0.2)
    assert any(request.op is KVOp.EVICT for request in first)
    run(demo, first + second, tmp_path, 0.5)


@pytest.mark.cpp
def test_prefill_then_decode_gives_the_golden_records(demo: UnitSimulation, tmp_path: Path) -> None:
    """In prefill tokens come by layer, the order covers them, and nothing is kept."""
    log: list[KVRequest] = []
    memory = KVMemory(DEMO, log)
    rng = np.random.default_rng(14)
    memory.reset()
    for layer in range(5):
        for token in range(20):
            (memory.skip if layer and rng.random() < 0.4 else memory.write)(layer, token)
        memory.attend(layer, 20, False)
    for layer in range(5):
        memory.write(layer, 20)
        memory.prepare(layer, 20, layer < 4)
        memory.attend(layer, 20, layer < 4)
    records = [request.record for request in log if request.op is KVOp.ATTEND]
    assert not any(record[:, 2].any() for record in records[:6] if record is not None)
    assert any(record[:, 2].any() for record in records[6:] if record is not None)
    run(demo, log, tmp_path, 0.5)


@pytest.mark.cpp
def test_every_request_takes_the_stated_cycles(demo: UnitSimulation, tmp_path: Path) -> None:
    log = decode_log(DEMO, tokens=40, layers=6, skip=0.3, seed=15, evict=0.3)
    measured, _ = run(demo, log, tmp_path, 0.0)
    plain = {
        KVOp.WRITE: timing.KV_WRITE_CYCLES,
        KVOp.SKIP: timing.KV_SKIP_CYCLES,
        KVOp.EVICT: timing.KV_EVICT_CYCLES,
        KVOp.INVALIDATE: timing.KV_INVALIDATE_CYCLES,
        KVOp.RESET: timing.kv_reset_cycles(DEMO.max_layers, DEMO.hbm_ports),
    }
    valid, prepared, seen = -1, False, set()
    for request, cycles in zip(log[1:], measured, strict=True):
        usable = valid == request.layer
        if request.op is KVOp.PREPARE:
            expected = 1 + usable * timing.kv_scan_cycles(request.token)
            prepared = usable
            ahead = request.look_ahead
        elif request.op is KVOp.ATTEND:
            assert request.record is not None
            rounds = len(set(request.record[:, 0].tolist()))
            if usable:
                scan = 0 if prepared and ahead == request.look_ahead else 1
                expected = timing.kv_queued_cycles(len(request.record), rounds)
                expected += scan * timing.kv_scan_cycles(request.token)
            else:
                expected = timing.kv_walked_cycles(request.token, rounds)
            valid, prepared = (request.layer + 1 if request.look_ahead else -1), False
        else:
            expected = plain[request.op]
            if request.op is KVOp.INVALIDATE:
                valid = -1
        seen.add((request.op, usable, prepared))
        assert cycles == expected, request
    assert len(seen) > 6


@pytest.mark.cpp
def test_a_changed_record_is_reported(demo: UnitSimulation, tmp_path: Path) -> None:
    log = decode_log(DEMO, tokens=6, layers=3, skip=0.5, seed=16)
    target = max(n for n, request in enumerate(log) if request.op is KVOp.ATTEND)
    record = log[target].record
    assert record is not None
    wrong = record.copy()
    wrong[2, 4] += 1
    log[target] = replace(log[target], record=wrong)
    work, got = replayed(demo, log, tmp_path, 0.0)
    (found,) = differences(work.golden, work.records(got.outputs))
    assert (found.id, found.output, found.index) == (target, "port", (2,))


@pytest.mark.cpp
def test_a_middle_size_gives_the_golden_records(tmp_path: Path) -> None:
    config: KVConfig = PRESETS["mid"].kv
    simulation = UnitSimulation(KVScheduler(config), folder=build_dir())
    log = decode_log(config, tokens=100, layers=8, skip=0.35, seed=17)
    run(simulation, log, tmp_path, 0.5)


def test_the_scheduler_is_written_at_full_size() -> None:
    text = emit(KVScheduler(PRESETS["u280"].kv), "kv_scheduler")
    assert "module kv_scheduler(" in text
    assert text.count("\n") < 20_000
