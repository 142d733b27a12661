"""The performance model beside the interpreter, which runs the same Program."""

from dataclasses import replace

import numpy as np
import pytest

from hwroute import timing
from hwroute.api.models import load
from hwroute.api.programs import compile_model, make_image
from hwroute.config import PRESETS, Config
from hwroute.errors import InputError
from hwroute.isa.fields import BEAT_BYTES, LINE_BYTES, QUEUED, Register, Unit
from hwroute.matrix_layout import MatrixLayout
from hwroute.models.interpreter.run import Interpreter
from hwroute.models.ops.kv import KVMemory
from hwroute.policy_terms import KVRule
from hwroute.sim.device import load_device
from hwroute.sim.performance.executor import Machine, Setup
from hwroute.sim.performance.generation import Dealer, Performance, measure
from hwroute.sim.performance.report import summary
from hwroute.sim.performance.result import Run
from hwroute.sim.performance.workload import Rates, Workload, recorded, synthetic

CONFIG = PRESETS["demo"]
PROMPT, COUNT = list(range(3, 24)), 6
LAYERS = 6


class Golden:
    """A run of the interpreter: each instruction of a unit with its registers, and the orders."""

    def __init__(self, rule: KVRule) -> None:
        model = load("tiny")
        policy = replace(model.policy, kv=rule)
        self.program = compile_model("tiny", config=CONFIG, policy=policy)
        self.ran: list[tuple[int, int, int]] = []
        self.orders: list[np.ndarray] = []
        self.lines = {"read": 0, "written": 0}
        image = make_image(self.program, model)
        interpreter = Interpreter(self.program, image, observer=self._note)
        self.generation = interpreter.generate(PROMPT, COUNT)
        self.kv = interpreter._kv.memory

    def _note(self, interpreter: Interpreter, index: int, written: dict) -> None:
        registers = interpreter.state.registers
        self.ran.append((index, registers[Register.POSITION], registers[Register.ROWS]))
        if "order" in written:
            self.orders.append(written["order"])
        if "address" in written:
            self.lines["written"] += written["address"].size * 2 // LINE_BYTES
        name = self.program.instructions[index].name
        if name in ("load", "gather"):
            self.lines["read"] += written["to"].size * 2 // LINE_BYTES

    @property
    def workload(self) -> Workload:
        return recorded(PROMPT, self.generation.executed, source="tiny")


@pytest.fixture(scope="module", params=[KVRule.REUSE, KVRule.DENSE, KVRule.EVICT])
def golden(request) -> Golden:
    return Golden(request.param)


@pytest.fixture(scope="module")
def machine(golden) -> Machine:
    return Machine(Setup(program=golden.program, workload=golden.workload))


@pytest.fixture(scope="module")
def run(machine) -> Run:
    return machine.run()


def by_unit(program, ran) -> dict[Unit, list]:
    return {
        unit: [one for one in ran if program.instructions[one[0]].unit is unit] for unit in QUEUED
    }


def test_it_executes_what_the_interpreter_executes(golden, run) -> None:
    """Each unit the same instructions, with the same registers, in the same order."""
    events = [(event.index, event.position, event.rows) for event in run.events]
    assert by_unit(golden.program, events) == by_unit(golden.program, golden.ran)


@pytest.mark.usefixtures("run")
def test_entries_end_where_the_interpreter_puts_them(golden, machine) -> None:
    count = golden.workload.tokens
    for layer in range(LAYERS):
        expected = golden.kv.directory.entries(layer, count)
        assert machine.parts.kv.directory.entries(layer, count) == expected
    assert (machine.parts.order == golden.orders[-1]).all()


def test_weights_and_scales_are_read_once_for_each_matmul(golden, run) -> None:
    weights = scales = 0
    for index, _, _ in golden.ran:
        one = golden.program.instructions[index]
        if one.name == "matmul":
            size = MatrixLayout(
                outputs=one["columns"],
                reduction=one["lines"],
                columns=CONFIG.array.columns,
                ports=CONFIG.kv.hbm_ports,
                group_lines=2,
            )
            weights += size.beats * CONFIG.kv.hbm_ports * BEAT_BYTES
            scales += size.scales * LINE_BYTES
    assert run.traffic.kinds["weights"] == weights
    assert run.traffic.kinds["scales"] == scales


def test_kv_bytes_are_those_of_entries(golden, machine, run) -> None:
    """Each slot is written once; K and V of each entry come from HBM or from the buffer."""
    slots = machine.parts.kv.directory.slots_used()
    assert run.traffic.kinds["kv_written"] == slots * machine.parts.reader.slot_bytes
    assert slots == golden.kv.directory.slots_used()
    vector = 2 * LINE_BYTES
    hits = int(sum(order[:, 2].sum() for order in golden.orders))
    assert run.traffic.kinds["kv_hits"] == 2 * hits * vector


def test_dma_moves_what_the_interpreter_moves(golden, run) -> None:
    assert run.traffic.kinds["ddr_read"] == golden.lines["read"] * LINE_BYTES
    puts = sum(event.name == "put" for event in run.events)
    expected = (golden.lines["written"] + puts) * LINE_BYTES
    assert run.traffic.kinds["ddr_written"] == expected


def test_what_ports_moved_is_what_was_asked_for(machine, run) -> None:
    hbm = machine.memories.hbm
    assert hbm.read.sum() == run.traffic.kinds["weights"] + run.traffic.kinds["kv_read"]
    assert hbm.written.sum() == run.traffic.kinds["kv_written"]
    ddr = machine.memories.ddr
    fetched = run.traffic.kinds["program"]
    assert ddr.read.sum() + ddr.written.sum() + fetched == run.traffic.ddr


def test_nothing_is_used_more_than_all_the_time(run) -> None:
    assert 0 < max(run.port_busy) <= run.cycles
    for cycles in run.busy().values():
        assert 0 < cycles <= run.cycles
    for cycles in run.waits().values():
        assert 0 <= cycles < run.cycles


def test_an_instruction_is_handed_on_issued_and_ended_in_turn(run) -> None:
    for event in run.events:
        assert event.handed + timing.UNIT_QUEUE_CYCLES <= event.issued < event.retired
        assert event.retired == int(event.retired)
    for unit in QUEUED:
        ends = [event.retired for event in run.events if event.unit is unit]
        assert ends == sorted(ends)


def test_tokens_are_kept(golden, run) -> None:
    """What waits for a unit starts behind the end of what gives it the token."""
    given = {(giver, taker): [] for giver in QUEUED for taker in QUEUED}
    for event in run.events:
        for taker in golden.program.instructions[event.index].units("signal"):
            given[event.unit, taker].append(event.retired)
    for unit in QUEUED:
        mine = sorted((e for e in run.events if e.unit is unit), key=lambda e: e.retired)
        for event in mine:
            for giver in golden.program.instructions[event.index].units("wait"):
                assert given[giver, unit].pop(0) + timing.TOKEN_CYCLES <= event.issued
    assert not any(given.values())


def setup_of(skip: float, *, config: Config = CONFIG, generate: int = 12, **more) -> Setup:
    program = compile_model("tiny", config=config)
    workload = synthetic(Rates.uniform(LAYERS, skip), prompt=20, generate=generate, **more)
    return Setup(program=program, workload=workload)


def decode(setup: Setup) -> Performance:
    return measure(setup, samples=None)


def test_more_skipping_is_never_slower() -> None:
    rates = [decode(setup_of(skip)).decode_seconds for skip in (0, 0.15, 0.3, 0.5, 0.8)]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] < rates[0] / 2


def test_more_bandwidth_is_never_slower() -> None:
    setup = setup_of(0.25)
    device = load_device("u280")
    seconds = []
    for dram, port in ((450, 225), (600, 300), (900, 450), (1800, 900)):
        hbm = replace(device.hbm, dram_mhz=dram, port_mhz=port)
        seconds.append(decode(replace(setup, device=replace(device, hbm=hbm))).decode_seconds)
    assert seconds == sorted(seconds, reverse=True)
    assert seconds[-1] < seconds[0]
    slow = replace(setup.parameters, ddr_share=0.25)
    assert decode(replace(setup, parameters=slow)).decode_seconds > seconds[2]


def test_a_larger_buffer_is_never_slower() -> None:
    """Entries that are reused come from it as far as it holds them.

    Two banks beside four ports serve up to a third of the entries at no loss of time; where more
    are reused, a larger buffer does cost time.
    """
    shares, seconds = [], []
    for tokens in (4, 8, 16, 64):
        config = replace(CONFIG, kv=replace(CONFIG.kv, buffer_tokens=tokens))
        result = decode(setup_of(0.25, config=config, generate=40))
        shares.append(result.kv_hit_share)
        seconds.append(result.decode_seconds)
    assert shares == sorted(shares)
    assert shares[0] < shares[-1]
    assert seconds == sorted(seconds, reverse=True)


def test_without_the_buffer_every_entry_comes_from_hbm() -> None:
    setup = setup_of(0.25, generate=40)
    without = replace(setup, parameters=replace(setup.parameters, history_buffer=False))
    one, other = decode(setup), decode(without)
    # K of 8 beats, as many of V, one of exponents; every token before has an entry.
    executed = setup.workload.executed[:, 0, 20:]
    entries = int((executed.sum(axis=0) * np.arange(20, 20 + executed.shape[1])).sum())
    assert other.traffic.kinds["kv_read"] == entries * 17 * BEAT_BYTES
    assert other.traffic.kinds["kv_hits"] == 0
    assert one.traffic.kinds["kv_read"] < other.traffic.kinds["kv_read"]
    assert one.decode_seconds < other.decode_seconds


def test_steps_alone_take_what_they_take_in_a_run() -> None:
    """A step starts with idle units; in a run the last step's put is still on its way."""
    setup = setup_of(0.25)
    whole = np.diff(Machine(setup).run().marks)
    steps = measure(setup, samples=None).cycles
    assert np.abs(steps[: len(whole)] - whole).max() <= 80
    assert whole.sum() == pytest.approx(steps[: len(whole)].sum(), rel=0.005)


def test_interpolated_steps_are_within_the_error_that_is_told() -> None:
    setup = setup_of(0.25, generate=120)
    every, some = measure(setup, samples=None), measure(setup, samples=24)
    assert every.error == 0
    assert len(some.steps) < 30 < len(every.steps)
    assert abs(some.decode_seconds / every.decode_seconds - 1) < some.error < 0.005
    for kind, size in every.traffic.kinds.items():
        assert some.traffic.kinds[kind] == pytest.approx(
            size, rel=0.05 if kind == "kv_hits" else 0.005
        )


def test_decisions_of_steps_between_are_dealt(golden) -> None:
    """The directory is the same, whether steps are simulated or passed over."""
    setup = Setup(program=golden.program, workload=golden.workload)
    kv = [KVMemory(CONFIG.kv) for _ in range(2)]
    for index, memory in enumerate(kv):
        Machine(setup, kv=memory).prefill()
        for position in range(golden.workload.prompt, golden.workload.tokens):
            if index:
                Machine(setup, kv=memory).step(position)
            else:
                Dealer(setup.program, setup.workload).step(memory, position)
    count = golden.workload.tokens
    for layer in range(LAYERS):
        one, other = (memory.directory.entries(layer, count) for memory in kv)
        assert one == other == golden.kv.directory.entries(layer, count)


def test_synthetic_decisions_have_their_rates() -> None:
    rates = Rates(attention=(0.0, 0.2, 0.5, 1.0), ffn=(0.1, 0.2, 0.3, 0.4))
    workload = synthetic(rates, prompt=10000, generate=10000, seed=3)
    skipped = 1 - workload.executed.mean(axis=2)
    assert np.abs(skipped - np.array([rates.attention, rates.ffn]).T).max() < 0.012
    assert skipped[0, 0] == 0
    assert skipped[3, 0] == 1
    assert "0.425" in workload.assumption
    assert "seed 3" in workload.assumption


@pytest.mark.parametrize("axis", ["layer", "token"])
def test_synthetic_decisions_are_correlated(axis) -> None:
    rates = Rates.uniform(8, 0.5, forced=0)
    strong = synthetic(
        rates, prompt=2000, generate=1, **{f"{axis}_correlation": 0.8}
    ).executed.astype(float)
    steps = {"layer": (strong[1:], strong[:-1]), "token": (strong[..., 1:], strong[..., :-1])}
    # Of signs of a Gaussian pair: 2 / pi asin(0.8).
    for name, (one, other) in steps.items():
        measured = np.corrcoef(one.ravel(), other.ravel())[0, 1]
        expected = 2 / np.pi * np.arcsin(0.8) if name == axis else 0
        assert measured == pytest.approx(expected, abs=0.05)


def test_what_does_not_fit_is_refused() -> None:
    setup = setup_of(0.25)
    with pytest.raises(InputError, match="layers"):
        replace(setup, workload=synthetic(Rates.uniform(5, 0.2), prompt=5, generate=5))
    with pytest.raises(InputError, match="context"):
        replace(setup, workload=synthetic(Rates.uniform(6, 0.2), prompt=250, generate=20))
    small = replace(setup.device, hbm=replace(setup.device.hbm, channels=2))
    with pytest.raises(InputError, match="channels"):
        replace(setup, device=small)
    with pytest.raises(InputError, match="correlation"):
        synthetic(Rates.uniform(5, 0.2), prompt=5, generate=5, token_correlation=1.0)


def test_the_summary_says_what_it_rests_on() -> None:
    text = summary(measure(setup_of(0.25, generate=60), samples=12))
    for part in ("synthetic decisions", "seed 1", "two standard errors", "ddr_latency_ns 89.9"):
        assert part in text
    assert "14 of 59 steps" in text or "13 of 59 steps" in text
