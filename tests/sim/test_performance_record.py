"""What a run of the performance model records beside its totals adds up to them."""

from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from hwroute import api
from hwroute.api.programs import compile_model, shape_and_policy
from hwroute.config import PRESETS
from hwroute.isa.fields import BEAT_BYTES, LINE_ELEMENTS
from hwroute.memory_config import KVMapping
from hwroute.models.ops.kv import KVMemory
from hwroute.sim.performance.executor import Machine, Setup
from hwroute.sim.performance.moves import NEAR, Move, Moves, levels
from hwroute.sim.performance.workload import Rates, synthetic

CONFIG = PRESETS["demo"]
LAYERS, SKIP, PROMPT, COUNT = 6, 0.3, 90, 4


@pytest.fixture(scope="module")
def machine() -> Machine:
    program = compile_model("tiny", config=CONFIG)
    workload = synthetic(Rates.uniform(LAYERS, SKIP), prompt=PROMPT, generate=COUNT)
    return Machine(Setup(program=program, workload=workload), kv=KVMemory(CONFIG.kv))


@pytest.fixture(scope="module")
def run(machine):
    return machine.run()


def test_the_bytes_of_instructions_are_all_but_the_programs(run) -> None:
    moved: Counter[str] = Counter()
    for event in run.events:
        moved.update(event.moved)
    assert moved == {
        kind: run.traffic.kinds[kind] for kind in run.traffic.kinds if kind != "program"
    }


def test_the_ports_are_busy_when_data_move(run) -> None:
    busy = sum(move.ports * (move.end - move.start) for move in run.hbm_moves)
    assert busy == pytest.approx(sum(run.port_busy), rel=1e-9)
    assert all(0 <= move.start < move.end <= run.end for move in run.hbm_moves + run.ddr_moves)
    for moves, ports in ((run.hbm_moves, CONFIG.kv.hbm_ports), (run.ddr_moves, 1)):
        assert max(move.ports for move in moves) <= ports + 1e-9
        assert all(one.end <= after.start + NEAR for one, after in pairwise(moves))


def test_products_are_those_of_the_shapes(machine, run) -> None:
    """Each token that executes times each weight; each pair of tokens times each element."""
    shape, _, _ = shape_and_policy("tiny")
    executed = machine.setup.workload.executed
    attention, ffn = executed.sum(axis=(0, 2))
    pairs = sum(token + 1 for token in np.nonzero(executed[:, 0])[1])
    assert all(executed[0, 0])
    # A head has a line to itself, so Q, K and V are wider than the model has them.
    wide = shape.heads * LINE_ELEMENTS
    projections = shape.dim * (wide + 2 * shape.kv_heads * LINE_ELEMENTS + shape.dim)
    products: Counter[str] = Counter()
    for event in run.events:
        products[event.name] += event.products
    assert products["scores"] == products["values"] == pairs * wide
    assert products["matmul"] == (
        attention * projections
        + ffn * 3 * shape.dim * shape.ffn_dim
        + COUNT * shape.dim * shape.vocab
    )


def test_attention_is_recorded_each_time_that_it_orders_entries(machine, run) -> None:
    orders = sum(event.name == "kv.order" for event in run.events)
    assert len(run.attentions) == orders
    hits = sum(one.hits for one in run.attentions)
    assert hits > 0
    # K and V of each hit; a later sweep through V goes to HBM.
    vector = machine.parts.reader.vector * BEAT_BYTES
    assert vector * hits < run.traffic.kinds["kv_hits"] <= 2 * vector * hits
    assert all(one.held <= CONFIG.kv.buffer_tokens for one in run.attentions)


@pytest.mark.parametrize("mapping", KVMapping)
def test_bytes_are_conserved_with_every_mapping_and_unfused(mapping) -> None:
    config = replace(CONFIG, memory=replace(CONFIG.memory, kv_mapping=mapping))
    result = api.perf("tiny", prefill=70, decode=3, config=config, fused=False)
    for run in (result.prefill, *result.steps.values()):
        moved: Counter[str] = Counter()
        for event in run.events:
            moved.update(event.moved)
        kinds = Counter(run.traffic.kinds)
        assert +moved == kinds - Counter(program=kinds["program"])
        busy = sum(move.ports * (move.end - move.start) for move in run.hbm_moves)
        assert busy == pytest.approx(sum(run.port_busy), rel=1e-9)


def test_what_follows_at_the_same_rate_is_one_move() -> None:
    moves = Moves()
    moves.add(0, 4, 2)
    moves.add(4, 10, 2)
    moves.add(10, 12, 1)
    moves.add(13, 15, 1)
    moves.add(15, 15, 3)
    assert moves.all() == [Move(0, 10, 2), Move(10, 12, 1), Move(13, 15, 1)]


def test_what_overlaps_is_one_move_with_the_mean() -> None:
    moves = Moves()
    moves.add(0, 2, 4)
    moves.add(3, 4, 4)
    moves.add(1, 11, 1)
    assert moves.all() == [Move(0, 11, (8 + 4 + 10) / 11)]
    moves.add(20, 21, 1)
    assert [move.start for move in moves.all()] == [0, 20]


def test_levels_are_the_moves_one_after_the_other() -> None:
    moves = [Move(1, 3, 2), Move(3, 4, 1), Move(6, 8, 4)]
    times, values = levels(moves, 100)
    assert times.tolist() == [1, 3, 4, 6, 8]
    assert values.tolist() == [2, 1, 0, 4, 0]
    assert [part.tolist() for part in levels([], 100)] == [[0], [0]]


def test_levels_of_many_moves_are_means_that_keep_the_sum() -> None:
    moves = [Move(2 * index, 2 * index + 1, 1 + index % 3) for index in range(1000)]
    times, values = levels(moves, 50)
    assert len(times) == len(values) == 50
    total = sum(values[:-1] * np.diff(times))
    assert total == pytest.approx(sum(move.ports * (move.end - move.start) for move in moves))
