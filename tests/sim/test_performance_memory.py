"""Ports of the performance model, and how the array goes through K and V."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import simpy

from hwroute import timing
from hwroute.api.programs import compile_model
from hwroute.config import PRESETS
from hwroute.isa.fields import BEAT_BYTES
from hwroute.isa.instruction import Instruction
from hwroute.models.ops.kv import KVMemory
from hwroute.sim.device import load_device
from hwroute.sim.memory.hbm import HbmMemory, Process, bursts
from hwroute.sim.performance.batches import FIELD, batches_of
from hwroute.sim.performance.executor import Machine, Setup
from hwroute.sim.performance.generation import Dealer
from hwroute.sim.performance.hbm_rates import DeviceHbm, FixedHbm, _run_ticks
from hwroute.sim.performance.memory import Memories
from hwroute.sim.performance.products import Ring
from hwroute.sim.performance.reader import Reader
from hwroute.sim.performance.sweeps import Sweep, sweeps_of
from hwroute.sim.performance.workload import Rates, synthetic

DEVICE = load_device("u280")
RATES = DeviceHbm(hbm=DEVICE.hbm, core_mhz=DEVICE.core_mhz, beat_bits=512, sample=64)
CONFIG = PRESETS["demo"]
SLOT = 514
"""Beats of a slot of Llama-2-7B: K, exponents, V."""


@pytest.mark.parametrize(
    ("runs", "tolerance"),
    [
        pytest.param(((0, 258),), 0.01, id="K and exponents"),
        pytest.param(((258, 256),), 0.01, id="V"),
        pytest.param(((258, 4),), 0.05, id="a line of V"),
    ],
)
def test_runs_take_what_the_bursts_of_a_port_take(runs, tolerance) -> None:
    """The port of the burst level, 32 bursts on their way, the controller choosing among 8."""
    env = simpy.Environment()
    memory = HbmMemory(env, DEVICE.hbm)
    port = memory.port(0, 32)
    count = 300 if runs[0][1] > 100 else 2000

    def reads() -> Process:
        moves = []
        for slot in range(count):
            for first, beats in runs:
                start = (slot * SLOT + first) * BEAT_BYTES
                for address, size in bursts(start, beats * BEAT_BYTES, DEVICE.hbm.burst_bytes):
                    moves.append(env.process(port.transfer(address, size)))
        yield env.all_of(moves)

    env.run(env.process(reads()))
    cycles = env.now * DEVICE.core_mhz / DEVICE.hbm.dram_mhz / count
    assert RATES.run_cycles(SLOT, runs) == pytest.approx(cycles, rel=tolerance)


def test_short_runs_take_the_same_wherever_in_a_page_they_begin() -> None:
    ticks = [_run_ticks(DEVICE.hbm, SLOT, ((first, 4),), 64, False) for first in (0, 14, 30)]
    assert max(ticks) / min(ticks) < 1.001
    cycles = {RATES.run_cycles(SLOT, ((first, 4),)) for first in (0, 14, 30)}
    assert len(cycles) == 1


def test_a_long_run_is_as_fast_as_a_stream() -> None:
    assert RATES.run_cycles(SLOT, ((0, SLOT),)) == pytest.approx(
        RATES.stream_cycles(SLOT), rel=0.005
    )


def test_a_port_is_never_faster_than_its_width() -> None:
    narrow = replace(RATES, beat_bits=128)
    assert narrow.stream_cycles(10) == 20
    assert narrow.run_cycles(SLOT, ((0, 10),)) >= 20
    assert RATES.beat_cycles == 0.5


def order_of(entries: list[dict[str, int]]) -> Any:
    order = np.zeros((len(entries), len(FIELD)), np.int64)
    for row, entry in zip(order, entries, strict=True):
        for name, value in entry.items():
            row[FIELD[name]] = value
    return order


def reader_of(latency: int = 5) -> Reader:
    memories = Memories(
        4, FixedHbm(latency=latency, clock_cycles=0.5), ddr_latency=1, ddr_beat_cycles=1.0
    )
    # Room for more tiles than are on their way, so that the sources are what is timed.
    config = replace(CONFIG, array=replace(CONFIG.array, columns=128))
    return Reader(config=config, memories=memories, vector=8, exponents=1, fifo_bytes=32 * 128)


def test_batches_end_with_rounds_and_before_a_source_comes_twice() -> None:
    entries = [
        {"round": 0, "port": 0, "hit": 1, "bank": 1},
        {"round": 0, "port": 0},
        {"round": 0, "port": 2, "keep": 1},
        {"round": 1, "port": 3},
    ]
    cut = batches_of(order_of(entries), CONFIG, buffered=True)
    assert [batch.sources.tolist() for batch in cut.batches] == [[1, 2, 4], [5]]
    groups = [[one.tolist() for one in batch.groups] for batch in cut.batches]
    assert groups == [[[0], [1], [2]], [[], [], [0]]]
    assert cut.counts.sum(axis=1).tolist() == [2, 1, 1]
    cut = batches_of(order_of(entries), CONFIG, buffered=False)
    assert [batch.sources.tolist() for batch in cut.batches] == [[2], [2, 4], [5]]
    assert cut.counts.sum(axis=1).tolist() == [4, 0, 0]


def test_one_port_brings_its_entries_one_after_the_other() -> None:
    """A vector of 8 beats and a beat of exponents each, and the first after the latency."""
    reader = reader_of()
    entries = [{"round": number, "port": 1, "slot": number} for number in range(6)]
    sweep = Sweep(value=False, line=0, rows=1, units=(1, 1))
    reader.begin(100, sweep)
    cut = batches_of(order_of(entries), CONFIG, buffered=True)
    taken = reader.sweep(sweep, cut, 1, 100)
    # Of the last entry, the last beat of K to the end of the beat of x: the beat of exponents comes
    # behind it.
    last = 100 + timing.KV_REQUEST_CYCLES + reader.memories.rates.read_cycles + 6 * 9 - 1 - 1
    assert taken == last + timing.KV_LINE_CYCLES + 1 + timing.kernel_cycles(1, aligned=True) + 1
    assert reader.memories.hbm.read.tolist() == [0, 6 * 9 * BEAT_BYTES, 0, 0]


def test_entries_of_one_batch_come_side_by_side() -> None:
    reader = reader_of()
    entries = [{"round": 0, "port": port} for port in range(4)]
    sweep = Sweep(value=False, line=0, rows=1, units=(1, 1))
    reader.begin(0, sweep)
    cut = batches_of(order_of(entries), CONFIG, buffered=True)
    taken = reader.sweep(sweep, cut, 1, 0)
    # Ports 0 to 3 are sources 2 to 5, which the loader takes by twos. The last one is asked for
    # three cycles after the first.
    last = timing.KV_REQUEST_CYCLES + reader.memories.rates.read_cycles + 3 + 8 - 1
    assert taken == last + timing.KV_LINE_CYCLES + 1 + timing.kernel_cycles(1, aligned=True) + 1


def test_what_is_kept_is_read_whole_and_hits_are_not_read() -> None:
    reader = reader_of()
    entries = [
        {"round": 0, "port": 0, "keep": 1},
        {"round": 0, "port": 1},
        {"round": 0, "port": 2, "hit": 1, "bank": 0},
    ]
    sweep = Sweep(value=True, line=1, rows=1, units=(1,))
    reader.begin(0, sweep)
    cut = batches_of(order_of(entries), CONFIG, buffered=True)
    reader.sweep(sweep, cut, 1, 0)
    assert reader.memories.hbm.read.tolist() == [8 * BEAT_BYTES, 4 * BEAT_BYTES, 0, 0]
    assert reader.hit_bytes == 128


def attention(name: str, **values: int) -> Instruction:
    fields = {"heads": 4, "queries": 2, "head_lines": 2, "pitch": 1, "out_pitch": 1}
    fields |= {"scores_pitch": 1} if name == "values" else {}
    if name == "values":
        del fields["out_pitch"]
    return Instruction(name, fields | values)


def cut_of(one: Instruction, rows: int, **array: int) -> list[tuple[int, tuple[int, ...]]]:
    config = replace(CONFIG, array=replace(CONFIG.array, **array))
    return [(sweep.line, sweep.units) for sweep in sweeps_of(one, rows, config)]


def test_sweeps_are_those_that_the_rtl_asks_for() -> None:
    """As `tests/rtl/values` has them: 16 accumulator rows are two units of 8 parts."""
    assert cut_of(attention("scores", first=4), 3) == [(4, (6, 6, 6, 6))]
    many = cut_of(attention("scores", heads=2, queries=1), 50)
    assert many == [(0, (16,) * 4)] * 3 + [(0, (2,) * 4)]
    chunks = attention("values", heads=3, queries=3, first=3, head_lines=2)
    assert [line for line, _ in cut_of(chunks, 3)] == [2] * 5 + [3] * 5
    assert [units for _, units in cut_of(chunks, 3)] == [(2,), (2,), (2,), (2,), (1,)] * 2
    ragged = attention("values", heads=8, queries=3, first=2, head_lines=1)
    assert cut_of(ragged, 2, accumulator_rows=64) == [(0, (2, 6)), (2, (6, 2))]


@pytest.fixture(scope="module")
def llama() -> Setup:
    program = compile_model("llama2-7b", config=PRESETS["u280"])
    workload = synthetic(Rates.uniform(32, 0.25), prompt=500, generate=3)
    return Setup(program=program, workload=workload)


def step_of(setup: Setup, position: int = 500) -> tuple[Machine, Any]:
    """Run a decode step behind tokens that were dealt without being timed."""
    kv = KVMemory(setup.program.config.kv)
    dealer = Dealer(setup.program, setup.workload)
    for token in range(position):
        dealer.step(kv, token)
    machine = Machine(setup, kv=kv)
    return machine, machine.step(position)


def test_a_step_of_llama_is_above_its_bounds(llama) -> None:
    """No port moves more than its peak, none is busy longer than the step."""
    machine, run = step_of(llama)
    hbm = machine.memories.hbm
    peak = 64.0
    """Bytes of a port in a cycle: 14.4 GB/s at 225 MHz."""
    assert (hbm.read + hbm.written).max() / peak < run.cycles
    assert max(run.port_busy) <= run.cycles
    assert run.traffic.ddr / peak < run.cycles
    share = run.traffic.hbm / (peak * 32 * run.cycles)
    assert 0.5 < share < 0.923


def test_a_larger_buffer_or_more_bandwidth_is_never_slower_for_llama(llama) -> None:
    cycles, hits = [], []
    for tokens in (32, 128, 1024):
        kv = replace(PRESETS["u280"].kv, buffer_tokens=tokens)
        program = compile_model("llama2-7b", config=replace(PRESETS["u280"], kv=kv))
        _, run = step_of(replace(llama, program=program))
        cycles.append(run.cycles)
        hits.append(run.traffic.kinds["kv_hits"])
    assert hits == sorted(hits)
    assert hits[0] < hits[-1]
    assert cycles == sorted(cycles, reverse=True)
    ports = replace(llama.parameters, ddr_ports=2)
    assert step_of(replace(llama, parameters=ports))[1].cycles <= cycles[-1]


def test_stripes_that_are_passed_over_change_nothing(llama, monkeypatch) -> None:
    """Neither when an instruction ends, nor what the ports moved: a tile of a prompt."""
    workload = synthetic(Rates.uniform(32, 0.9), prompt=64, generate=2)
    setup = replace(llama, workload=workload)

    def run() -> tuple[Machine, Any]:
        machine = Machine(setup)
        return machine, machine.prefill()

    passed, asked = run(), []
    monkeypatch.setattr(Ring, "pass_over", lambda *_: asked.append(1))
    single = run()
    ends = [[event.retired for event in result.events] for _, result in (passed, single)]
    assert ends[0] == ends[1]
    assert len(asked) > 10_000
    assert (passed[0].memories.hbm.read == single[0].memories.hbm.read).all()
    assert passed[1].traffic.kinds == single[1].traffic.kinds
    assert passed[1].port_busy == pytest.approx(single[1].port_busy)
