"""A whole generation: the prompt and some steps simulated, the other steps interpolated."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwroute.isa.instruction import Instruction
from hwroute.models.ops.kv import KVMemory
from hwroute.program import Program
from hwroute.sim.performance.executor import Machine, Setup
from hwroute.sim.performance.kv_unit import deal
from hwroute.sim.performance.result import Run, Traffic
from hwroute.sim.performance.units import decided
from hwroute.sim.performance.workload import KINDS, Workload

SAMPLES = 24
"""Steps that are simulated; the rest is interpolated between them."""
SEED = 1
CERTAIN = 2.0
"""Standard errors that the printed error is."""
Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Performance:
    """What a generation takes.

    Parameters
    ----------
    setup
        What was run.
    prefill
        The prompt, up to the first token of the answer.
    steps
        Runs of the steps that were simulated, by the position of their token.
    cycles
        Of each step, simulated or interpolated.
    error
        Of the sum of `cycles`, as a share: two standard errors of what was interpolated.
    traffic
        Bytes of all steps, those of the interpolated ones from the same fit.
    """

    setup: Setup
    prefill: Run
    steps: dict[int, Run]
    cycles: Floats
    error: float
    traffic: Traffic

    @property
    def hertz(self) -> float:
        """Clock of the machine."""
        return self.setup.device.core_mhz * 1e6

    @property
    def prefill_seconds(self) -> float:
        """Up to the first token of the answer."""
        return self.prefill.marks[0] / self.hertz

    @property
    def decode_seconds(self) -> float:
        """From there to the last token."""
        return float(self.cycles.sum()) / self.hertz

    @property
    def tokens_per_second(self) -> float:
        """Of the decode steps alone."""
        return len(self.cycles) / self.decode_seconds if len(self.cycles) else 0.0

    @property
    def tokens_per_second_overall(self) -> float:
        """Of all tokens generated, the prompt's time counted."""
        return self.setup.workload.generate / (self.prefill_seconds + self.decode_seconds)

    @property
    def bytes_per_token(self) -> float:
        """Bytes that a decode step reads from HBM and DDR."""
        kinds = ("weights", "kv_read", "scales", "ddr_read", "program")
        return sum(self.traffic.kinds[kind] for kind in kinds) / max(1, len(self.cycles))

    @property
    def bandwidth_efficiency(self) -> float:
        """Bytes that HBM moved in decode, over the peak of the ports that the machine has."""
        hbm = self.setup.device.hbm
        peak = hbm.channel_gb_s * 1e9 * self.setup.program.config.kv.hbm_ports
        return self.traffic.hbm / self.decode_seconds / peak if len(self.cycles) else 0.0

    @property
    def kv_hit_share(self) -> float:
        """Share of K and V that the history buffer served in decode."""
        hits, read = self.traffic.kinds["kv_hits"], self.traffic.kinds["kv_read"]
        return hits / (hits + read) if hits + read else 0.0


def measure(setup: Setup, *, samples: int | None = SAMPLES) -> Performance:
    """Simulate a generation.

    Parameters
    ----------
    setup
        What is run.
    samples
        Steps to simulate, spread over the answer; None for every one.
    """
    kv = KVMemory(setup.program.config.kv)
    prefill = Machine(setup, kv=kv).prefill()
    workload = setup.workload
    positions = range(workload.prompt, workload.tokens)
    chosen = _chosen(len(positions), samples)
    dealer = Dealer(setup.program, workload)
    steps: dict[int, Run] = {}
    for index, position in enumerate(positions):
        if index in chosen:
            steps[position] = Machine(setup, kv=kv).step(position)
        else:
            dealer.step(kv, position)
    return _summed(setup, prefill, steps)


def _chosen(count: int, samples: int | None) -> set[int]:
    """Return one step of each of `samples` equal stretches, first and last included."""
    if samples is None or count <= max(samples, len(_FEATURES) + 2):
        return set(range(count))
    cuts = np.linspace(0, count, samples + 1).astype(int)
    rng = np.random.default_rng(SEED)
    inner = {int(rng.integers(low, high)) for low, high in pairwise(cuts)}
    return inner | {0, count - 1}


class Dealer:
    """Give slots as decode steps do, without timing them.

    Parameters
    ----------
    program, workload
        Instructions and decisions.
    """

    def __init__(self, program: Program, workload: Workload):
        body = program.instructions[program.labels["next"] :]
        self.workload = workload
        self.parts = [one for one in body if one.name in ("decide", "kv.deal")]

    def step(self, kv: KVMemory, position: int) -> None:
        """Deal the token at a position."""
        planes: dict[int, Any] = {0: np.ones(1, np.bool_)}
        for one in self.parts:
            if one.name == "decide":
                planes[one["to"]] = decided(one, position, 1, self.workload)
            else:
                deal(kv, one, position, 1, np.flatnonzero(planes[one["plane"]]))


_FEATURES = ("one", *KINDS, "entries", "reused")


def _features(setup: Setup) -> Floats:
    """Return what the time of each step depends on: [steps, len(_FEATURES)].

    Sub-layers that execute, by kind; entries that attention goes through; and those that it may
    find in the history buffer.
    """
    program, workload = setup.program, setup.workload
    executed = _effective(program, workload)
    steps = np.arange(workload.prompt, workload.tokens)
    own = executed[:, 0, :]
    deals = [one for one in program.instructions if one.name == "kv.deal"]
    dense = all(one["plane"] == 0 for one in deals if one["layer"])
    evicts = any(one["plane"] and one.choice("rule") == "evict" for one in deals)
    here = own[:, steps]
    before: NDArray[np.int64] = np.cumsum(own, axis=1) - own
    entries = before[:, steps] if evicts and not dense else np.broadcast_to(steps, here.shape)
    reused = np.zeros(here.shape)
    if not dense and not evicts:
        skipped = np.minimum(steps - before[:, steps], program.config.kv.buffer_tokens)
        reused[1:] = skipped[1:] * (here[:-1] & here[1:])
    columns = [
        np.ones(len(steps)),
        here.sum(axis=0),
        executed[:, 1, steps].sum(axis=0),
        (here * entries).sum(axis=0),
        reused.sum(axis=0),
    ]
    return np.stack(columns, axis=1).astype(np.float64)


def _effective(program: Program, workload: Workload) -> NDArray[np.bool_]:
    """Return the decisions with what the Program forces."""
    executed = workload.executed.copy()
    asked: dict[tuple[int, int], Instruction] = {}
    for one in program.instructions:
        if one.name == "decide":
            asked[one["layer"], one["kind"]] = one
    for layer in range(len(executed)):
        for kind in range(len(KINDS)):
            rule = asked.get((layer, kind))
            bits = True if rule is None else decided(rule, 0, workload.tokens, workload)
            executed[layer, kind] = bits
    return executed


def _summed(setup: Setup, prefill: Run, steps: dict[int, Run]) -> Performance:
    """Interpolate the steps that were not simulated."""
    workload = setup.workload
    count = workload.tokens - workload.prompt
    runs = [steps[position] for position in sorted(steps)]
    known = np.array(sorted(steps), np.int64) - workload.prompt
    cycles = np.zeros(count)
    cycles[known] = [run.marks[1] - run.marks[0] for run in runs]
    traffic = Traffic()
    kinds = sorted({kind for run in runs for kind in run.traffic.kinds})
    moved = {kind: np.array([run.traffic.kinds[kind] for run in runs], float) for kind in kinds}
    error = 0.0
    if len(known) < count:
        features = _features(setup)
        rest = np.setdiff1d(np.arange(count), known)
        cycles[rest], error = _fit(features[known], cycles[known], features[rest])
        error /= cycles.sum()
        for kind in kinds:
            more, _ = _fit(features[known], moved[kind], features[rest])
            traffic.add(kind, max(0, round(more.sum())))
    for kind in kinds:
        traffic.add(kind, round(moved[kind].sum()))
    return Performance(
        setup=setup, prefill=prefill, steps=steps, cycles=cycles, error=error, traffic=traffic
    )


def _fit(known: Floats, cycles: Floats, rest: Floats) -> tuple[Floats, float]:
    """Return the cycles of the rest by least squares, and the error of their sum in cycles."""
    # Columns that are alike in all steps known say nothing beside the first.
    varies = np.ptp(known, axis=0) > 0
    varies[0] = True
    known, rest = known[:, varies], rest[:, varies]
    unit = np.abs(known).max(axis=0)
    known, rest = known / unit, rest / unit
    inverse = np.linalg.pinv(known.T @ known)
    weights = inverse @ known.T @ cycles
    left = cycles - known @ weights
    leverage = np.einsum("ij,jk,ik->i", known, inverse, known)
    # What each step is off by when it is left out of the fit.
    free = max(1, len(known) - known.shape[1])
    apart = left / np.maximum(1 - leverage, 1e-9)
    variance = float((apart**2).sum()) / max(free, 1)
    total = rest.sum(axis=0)
    spread = len(rest) + float(total @ inverse @ total)
    return rest @ weights, CERTAIN * float(np.sqrt(variance * spread))
