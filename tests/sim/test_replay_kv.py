"""Recorded KV requests become streams and come back as the same records."""

from dataclasses import replace

import numpy as np
import pytest

from hwroute.config import PRESETS
from hwroute.kv import KVOp
from hwroute.models.ops.kv import KVRequest
from hwroute.sim.replay import differences
from hwroute.sim.replay_kv import decode_log, replay

DEMO = PRESETS["demo"].kv


@pytest.fixture
def log() -> list[KVRequest]:
    return decode_log(DEMO, tokens=12, layers=4, skip=0.4, seed=31, evict=0.2)


def test_streams_split_back_into_the_records(log: list[KVRequest]) -> None:
    work = replay(log)
    for request, answer in zip(log, work.split(work.outputs), strict=True):
        if request.record is None:
            assert answer is None
        else:
            assert answer is not None
            assert np.array_equal(answer, request.record)
    records = sum(request.record is not None for request in log)
    assert len(work.golden) == records > 20
    assert differences(work.golden, work.records(work.outputs)) == []
    assert work.expect["slots"] == sum(request.op is KVOp.WRITE for request in log)


def test_no_request_gives_empty_streams() -> None:
    work = replay([])
    assert work.expect == {"slots": 0, "o": 0}
    assert work.golden == work.records(work.outputs) == []


@pytest.mark.parametrize("field", ["token", "hit", "slot", "keep", "bank", "place"])
def test_a_difference_is_named(log: list[KVRequest], field: str) -> None:
    work = replay(log)
    changed = {name: values.copy() for name, values in work.outputs["o"].items()}
    first = int(np.flatnonzero(changed["end"] == 0)[0])
    changed[field][first] += 1
    found = differences(work.golden, work.records({**work.outputs, "o": changed}))[0]
    assert found.operation == "ATTEND layer 0 token 1"
    assert (found.output, found.index) == (field, (0,))


def test_a_round_that_ends_too_late_is_named(log: list[KVRequest]) -> None:
    work = replay(log)
    first = work.outputs["o"]["first"].copy()
    end = work.outputs["o"]["end"]
    inner = [row for row in np.flatnonzero(first) if row and not end[row - 1]]
    first[inner[0]] = 0
    changed = {**work.outputs, "o": {**work.outputs["o"], "first": first}}
    found = differences(work.golden, work.records(changed))[0]
    assert (found.output, found.ours, found.theirs) == ("round", "0x1 (1)", "0x0 (0)")


def test_a_slot_that_differs_is_named(log: list[KVRequest]) -> None:
    target = next(n for n, request in enumerate(log) if request.op is KVOp.WRITE)
    record = log[target].record
    assert record is not None
    log[target] = replace(log[target], record=record + np.array([[0, 1]]))
    good = replay(decode_log(DEMO, tokens=12, layers=4, skip=0.4, seed=31, evict=0.2))
    work = replay(log)
    (found,) = differences(work.golden, work.records(good.outputs))
    assert (found.id, found.operation) == (target, "WRITE layer 0 token 0")
    assert (found.output, found.ours, found.theirs) == ("slot", "0x1 (1)", "0x0 (0)")


def test_a_missing_entry_is_named(log: list[KVRequest]) -> None:
    work = replay(log)
    first = int(np.flatnonzero(work.outputs["o"]["end"] == 0)[0])
    fewer = {name: np.delete(values, first) for name, values in work.outputs["o"].items()}
    found = differences(work.golden, work.records({**work.outputs, "o": fewer}))[0]
    assert (found.output, found.index, found.theirs) == ("rows", (0,), "absent")


def test_an_order_without_an_end_is_named(log: list[KVRequest]) -> None:
    work = replay(log)
    last = int(np.flatnonzero(work.outputs["o"]["end"])[-1])
    fewer = {name: np.delete(values, last) for name, values in work.outputs["o"].items()}
    (found,) = differences(work.golden, work.records({**work.outputs, "o": fewer}))
    assert found.id == max(n for n, request in enumerate(log) if request.op is KVOp.ATTEND)
    assert (found.output, found.theirs) == ("rows", "absent")
