"""What must hold of the performance model whatever it is asked."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hwroute.api.programs import compile_model
from hwroute.config import PRESETS, Config
from hwroute.isa.fields import QUEUED
from hwroute.memory_config import KVMapping
from hwroute.sim.performance.executor import Machine, Setup
from hwroute.sim.performance.generation import measure
from hwroute.sim.performance.hbm_rates import FixedHbm
from hwroute.sim.performance.limits import largest_hit_share
from hwroute.sim.performance.mechanisms import Mechanisms
from hwroute.sim.performance.memory import Memories
from hwroute.sim.performance.metrics import bound, utilization
from hwroute.sim.performance.parameters import Parameters
from hwroute.sim.performance.result import DDR_KINDS, HBM_KINDS, Run
from hwroute.sim.performance.workload import Rates, synthetic

DEMO = PRESETS["demo"]
LAYERS, PROMPT, COUNT = 6, 24, 7
SLACK = 1.002
"""Of cycles: an order is made without a look ahead, and where one entry is served elsewhere, others
may wait for other sources."""
FEW = settings(
    deadline=None, max_examples=6, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)


def config_of(*, mapping: KVMapping = KVMapping.TOKEN, **kv: int) -> Config:
    memory = replace(DEMO.memory, kv_mapping=mapping)
    return replace(DEMO, memory=memory, kv=replace(DEMO.kv, **kv))


def setup_of(
    config: Config = DEMO, *, skip: float = 0.3, seed: int = 1, prompt: int = PROMPT, **free: Any
) -> Setup:
    return Setup(
        program=compile_model("tiny", config=config),
        workload=synthetic(Rates.uniform(LAYERS, skip), prompt=prompt, generate=COUNT, seed=seed),
        parameters=Parameters(**free),
    )


def run_of(setup: Setup, *, latency: int = 20, beat: float = 1.0) -> Run:
    memories = Memories(
        setup.program.config.kv.hbm_ports,
        FixedHbm(latency=latency, beat_cycles=beat),
        ddr_latency=latency,
        ddr_beat_cycles=beat,
    )
    return Machine(setup, memories=memories).run()


@st.composite
def mechanisms(draw) -> Mechanisms:
    ring = draw(st.integers(2, 12))
    ahead = draw(st.booleans())
    flags = (
        "interleave_heads",
        "skip_empty",
        "queued_orders",
        "survivors",
        "placement",
        "split_sums",
    )
    return Mechanisms(
        run_ahead=ahead,
        ring_stripes=ring,
        speculated_stripes=draw(st.integers(0, ring)) if ahead else 0,
        kv_bits=draw(st.sampled_from((8, 16))),
        **{name: draw(st.booleans()) for name in flags},
    )


@st.composite
def setups(draw) -> Setup:
    config = config_of(
        mapping=draw(st.sampled_from(KVMapping)),
        buffer_tokens=draw(st.sampled_from((8, 32, 128))),
    )
    return setup_of(
        config,
        skip=draw(st.sampled_from((0.0, 0.25, 0.5, 0.8))),
        seed=draw(st.integers(1, 99)),
        mechanisms=draw(mechanisms()),
        fused=draw(st.booleans()),
        history_buffer=draw(st.booleans()),
        port_fifo_bytes=draw(st.sampled_from((1 << 10, 8 << 10))),
        ddr_ports=draw(st.integers(1, 2)),
    )


@FEW
@given(setups(), st.integers(1, 60), st.sampled_from((0.5, 1.0, 3.0)))
def test_bytes_are_conserved_and_nothing_is_used_more_than_always(setup, latency, beat) -> None:
    """What ports moved is what kinds and instructions tell, and takes no longer than there is."""
    machine = Machine(
        setup,
        memories=Memories(
            DEMO.kv.hbm_ports,
            FixedHbm(latency=latency, beat_cycles=beat),
            ddr_latency=latency,
            ddr_beat_cycles=beat,
        ),
    )
    run = machine.run()
    hbm, ddr, kinds = machine.memories.hbm, machine.memories.ddr, run.traffic.kinds
    assert hbm.read.sum() + hbm.written.sum() == sum(kinds[one] for one in HBM_KINDS)
    assert hbm.written.sum() == kinds["kv_written"]
    # Words of the Program are read beside what the DDR port is claimed for.
    loads = sum(kinds[one] for one in DDR_KINDS) - kinds["program"]
    assert ddr.read.sum() + ddr.written.sum() == loads
    for kind in ("weights", "scales", "kv_read", "kv_hits", "kv_written"):
        assert sum(one.moved.get(kind, 0) for one in run.events) == kinds[kind]
    assert max(run.port_busy) <= run.cycles
    assert max(run.busy()[unit] for unit in QUEUED) <= run.cycles


@FEW
@given(setups())
def test_what_is_needed_does_not_depend_on_time(setup) -> None:
    """Slow memories change no byte but those that were read for nothing."""
    fast, slow = run_of(setup, latency=1, beat=0.5), run_of(setup, latency=60, beat=2.0)
    for kind in ("weights", "scales", "kv_read", "kv_hits", "kv_written", "ddr_read"):
        assert fast.traffic.kinds[kind] == slow.traffic.kinds[kind]
    assert fast.cycles < slow.cycles


@FEW
@given(setups())
def test_nothing_is_faster_than_the_bound(setup) -> None:
    result = measure(setup)
    assert 0 < result.tokens_per_second <= bound(result).tokens_per_second
    assert all(share <= 1 for share in utilization(result).values())
    survivors = setup.parameters.mechanisms.survivors
    assert result.kv_hit_share <= largest_hit_share(setup, survivors=survivors) + 1e-9


@FEW
@given(setups(), st.integers(1, 40))
def test_more_bandwidth_is_never_slower(setup, latency) -> None:
    cycles = [run_of(setup, latency=latency, beat=beat).cycles for beat in (0.5, 1.0, 2.0, 4.0)]
    assert all(more <= less * SLACK for more, less in pairwise(cycles))


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("ahead", [False, True])
def test_more_skipping_is_never_slower(seed, ahead) -> None:
    """Decisions of a higher rate skip all that those of a lower one skip."""
    switches = Mechanisms(run_ahead=ahead, ring_stripes=8, speculated_stripes=8 * ahead)
    cycles = [
        run_of(setup_of(skip=skip, seed=seed, mechanisms=switches)).cycles
        for skip in (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8)
    ]
    assert all(more <= less * SLACK for less, more in pairwise(cycles))


@pytest.mark.parametrize("skip", [0.25, 0.4, 0.6])
def test_a_larger_buffer_is_never_slower_where_every_port_may_be_kept(skip) -> None:
    """With a write port for each HBM port, that is, so no round ends because of what it keeps.

    With fewer, keeping an entry may end a round (docs/kv.md), and a larger buffer keeps more. What
    is kept is read whole, which costs where the array takes vectors in several passes.
    """
    ports = DEMO.kv.hbm_ports
    runs = [
        run_of(
            setup_of(
                config_of(buffer_tokens=tokens, buffer_read_ports=ports, buffer_write_ports=ports),
                skip=skip,
                prompt=80,
            )
        )
        for tokens in (8, 16, 32, 64, 128)
    ]
    hits = [run.traffic.kinds["kv_hits"] for run in runs]
    assert hits == sorted(hits)
    assert hits[-1] > 2 * hits[0]
    assert all(more.cycles <= less.cycles * SLACK for less, more in pairwise(runs))
