"""Switches of the performance model: what each changes, and what it does not."""

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hwroute import timing
from hwroute.api.programs import compile_model
from hwroute.config import PRESETS, Config, KVConfig
from hwroute.isa.fields import BEAT_BYTES, Unit
from hwroute.memory_config import KVMapping
from hwroute.models.ops.kv_rounds import Round
from hwroute.rtl.column_ports import ColumnShape
from hwroute.rtl.matmul_layouts import MatmulShape
from hwroute.sim.performance.ahead import LoosePorts
from hwroute.sim.performance.batches import groups_of
from hwroute.sim.performance.executor import Machine, Setup
from hwroute.sim.performance.fusion import separated_tokens
from hwroute.sim.performance.generation import measure
from hwroute.sim.performance.history import ModelledKV
from hwroute.sim.performance.limits import largest_hit_share
from hwroute.sim.performance.mechanisms import Mechanisms, split_sum_cycles
from hwroute.sim.performance.parameters import Parameters
from hwroute.sim.performance.result import Run
from hwroute.sim.performance.tiles import Arrival, Lines, Tiles
from hwroute.sim.performance.workload import Rates, synthetic

DEMO = PRESETS["demo"]
PROMPT, COUNT, LAYERS = 40, 12, 6


def setup_of(
    mapping: KVMapping = KVMapping.TOKEN,
    *,
    config: Config = DEMO,
    skip: float = 0.3,
    prompt: int = PROMPT,
    count: int = COUNT,
    **switches: Any,
) -> Setup:
    config = replace(config, memory=replace(config.memory, kv_mapping=mapping))
    program = compile_model("tiny", config=config)
    workload = synthetic(Rates.uniform(LAYERS, skip), prompt=prompt, generate=count)
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


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"kv_bits": 4}, "kv_bits must be 8 or 16, not 4"),
        ({"ring_stripes": 1}, "ring_stripes must be at least 2, not 1"),
        ({"speculated_stripes": 2}, "speculated_stripes must be from 0 to 0"),
        ({"run_ahead": True, "speculated_stripes": 5}, "speculated_stripes must be from 0 to 4"),
    ],
)
def test_switches_out_of_range_are_refused(wrong, text) -> None:
    with pytest.raises(ValueError, match=re.escape(text)):
        Mechanisms(**wrong)


def test_heads_in_turn_wait_for_no_sum(plain) -> None:
    """Four heads of two lines, a line a cycle; the second of a head waits for the first's sum."""
    ends = []
    for head_lines in (2, 1):
        tiles = Tiles(ColumnShape.of(PRESETS["u280"]))
        tiles.batch(
            Lines(
                units=[1] * 8,
                groups=[Arrival(0, 7)],
                period=1,
                tail=0,
                value=False,
                head_lines=head_lines,
            )
        )
        ends.append(tiles.taken)
    assert ends[0] - ends[1] == 4 * (timing.ARRAY_BEAT_DISTANCE - 1)
    assert run_of(mechanisms=Mechanisms(interleave_heads=True)).cycles <= plain.cycles


class CountingKV(ModelledKV):
    """Counts the rounds of its orders, and what they hold."""

    rounds = 0
    served: tuple[tuple[int, ...], ...] = ()

    def attend(self, layer: int, count: int, look_ahead: bool) -> list[Round]:
        rounds = super().attend(layer, count, look_ahead)
        self.rounds += len(rounds)
        self.served += (tuple(sorted(one.token for part in rounds for one in part)),)
        return rounds


def counted(
    kv: KVConfig = DEMO.kv,
    *,
    skip: float = 0.3,
    prompt: int = PROMPT,
    count: int = COUNT,
    **switches: Any,
) -> CountingKV:
    setup = setup_of(
        config=replace(DEMO, kv=kv),
        skip=skip,
        prompt=prompt,
        count=count,
        mechanisms=Mechanisms(**switches),
    )
    memory = CountingKV(kv, setup.parameters.mechanisms, LAYERS)
    Machine(setup, kv=memory).run()
    return memory


def test_orders_by_queues_have_the_same_entries_in_fewer_rounds() -> None:
    walked, queued = counted(), counted(queued_orders=True)
    assert queued.served == walked.served
    assert queued.rounds < walked.rounds


def test_few_write_ports_make_a_larger_buffer_cost_rounds() -> None:
    """Where most is to be kept, a round keeps what it may rather than use all ports."""
    small, large = (
        counted(replace(DEMO.kv, buffer_tokens=tokens), skip=0.6, prompt=60, count=24)
        for tokens in (32, 64)
    )
    assert large.served == small.served
    assert large.rounds > 1.1 * small.rounds


@pytest.mark.parametrize("survivors", [False, True])
def test_a_buffer_with_room_serves_all_that_it_can(survivors) -> None:
    kv = replace(DEMO.kv, buffer_tokens=1024)
    setup = setup_of(config=replace(DEMO, kv=kv), mechanisms=Mechanisms(survivors=survivors))
    result = measure(setup)
    expected = largest_hit_share(setup, survivors=survivors)
    entries = sum(one.entries for run in result.steps.values() for one in run.attentions)
    hits = sum(one.hits for run in result.steps.values() for one in run.attentions)
    assert hits / entries == pytest.approx(expected, rel=1e-12)
    assert hits > 100


def test_placement_spreads_what_layers_read_over_the_ports() -> None:
    loads = {}
    for placement in (False, True):
        kv = ModelledKV(DEMO.kv, Mechanisms(placement=placement), LAYERS)
        skipped = np.random.default_rng(3).random((LAYERS, 200)) < 0.4
        for token in range(200):
            for layer in range(LAYERS):
                if layer and skipped[layer, token]:
                    kv.skip(layer, token)
                else:
                    kv.write(layer, token)
        ports = [[one.port for one in kv.directory.entries(layer, 200)] for layer in range(LAYERS)]
        counts = [np.bincount(one, minlength=DEMO.kv.hbm_ports) for one in ports]
        assert all(one.sum() == 200 for one in counts)
        loads[placement] = sum(int(one.max()) for one in counts)
    assert loads[True] < loads[False]


def test_partial_sums_wait_for_the_last_additions_only() -> None:
    whole = timing.npe_reduce_cycles(1, 64, 3)
    # A line in each cycle instead of one in five, and three levels of additions of five cycles.
    assert whole - split_sum_cycles(1, 64, whole) == 63 * 4 - 3 * 5
    # Enough rows never wait, and few lines do not gain.
    for rows, lines in ((8, 64), (1, 2)):
        cycles = timing.npe_reduce_cycles(rows, lines, 3)
        assert split_sum_cycles(rows, lines, cycles) == cycles


def test_narrow_entries_move_half_the_bytes_and_exponents(plain) -> None:
    kinds = run_of(mechanisms=Mechanisms(kv_bits=8)).traffic.kinds
    layout = next(one for one in setup_of().program.instructions if one.name == "kv.map")
    vector, exponents = layout["vector"], layout["exponents"]
    share = (vector + 2 * exponents) / (2 * vector + exponents)
    assert kinds["kv_written"] == pytest.approx(share * plain.traffic.kinds["kv_written"])
    assert kinds["kv_hits"] * 2 == plain.traffic.kinds["kv_hits"]


def test_a_loader_passes_over_sources_that_bring_nothing(plain) -> None:
    """At `demo` the two banks are a group of their own, and ports two more."""
    sources = np.array([2, 3, 5])
    assert [one.tolist() for one in groups_of(sources, 2)] == [[], [0, 1], [2]]
    assert [one.tolist() for one in groups_of(sources, 2, skip_empty=True)] == [[0, 1], [2]]
    skipping = run_of(mechanisms=Mechanisms(skip_empty=True))
    assert dict(skipping.traffic.kinds) == dict(plain.traffic.kinds)
    assert spans(skipping, "values").sum() < spans(plain, "values").sum()


def test_reading_ahead_takes_less_time_for_the_same_bytes(plain) -> None:
    ahead = run_of(mechanisms=Mechanisms(run_ahead=True, ring_stripes=8))
    assert dict(ahead.traffic.kinds) == dict(plain.traffic.kinds)
    assert ahead.cycles < plain.cycles


def test_weights_of_what_is_skipped_are_dropped_and_counted(plain) -> None:
    stripes = 4
    guessing = Mechanisms(run_ahead=True, ring_stripes=8, speculated_stripes=stripes)
    run = run_of(mechanisms=guessing)
    kinds = dict(run.traffic.kinds)
    dropped, scales = kinds.pop("dropped"), kinds.pop("dropped_scales")
    assert kinds == dict(plain.traffic.kinds)
    shape = MatmulShape.of(DEMO)
    stripe = shape.chunk_beats * shape.tracks * DEMO.kv.hbm_ports * BEAT_BYTES
    branches = 2 * LAYERS * (PROMPT // DEMO.array.accumulator_rows + 1 + COUNT)
    assert 0 < dropped <= branches * stripes * stripe
    assert scales > 0
    assert run.cycles < plain.cycles
    assert run_of(skip=0.0, mechanisms=guessing).traffic.kinds["dropped"] == 0


def test_a_port_drops_from_when_it_is_free_to_the_decision() -> None:
    ports = LoosePorts(3)
    ports.claim(0, 0, 10, 320, write=False)
    ports.claim(1, 0, 96, 320, write=False)
    assert ports.drop(100, 50, 2.0).tolist() == [45, 2, 50]
    assert ports.free.tolist() == [100, 100, 100]
    assert ports.read.tolist() == [320 + 45 * BEAT_BYTES, 320 + 2 * BEAT_BYTES, 50 * BEAT_BYTES]
