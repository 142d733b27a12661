"""A whole generation: the prompt and some steps simulated, the other steps interpolated."""

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from hwroute.models.ops.kv import KVMemory
from hwroute.program import Program
from hwroute.sim.performance.executor import Machine, Setup
from hwroute.sim.performance.interpolation import FEATURES, Floats, Interpolation, features
from hwroute.sim.performance.kv_unit import deal
from hwroute.sim.performance.result import Run, Traffic
from hwroute.sim.performance.units import decided
from hwroute.sim.performance.workload import Workload

SAMPLES = 10
"""Steps that are simulated at first; the rest is interpolated between them."""
ERROR = 0.004
"""Of the decode time, as a share, above which more steps are simulated."""
SEED = 1


def step_cycles(run: Run) -> float:
    """Return the cycles of a decode step: up to where the next one begins."""
    return run.marks[1] - run.marks[0]


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
    between
        Tells of the other steps.
    """

    setup: Setup
    prefill: Run
    steps: dict[int, Run]
    between: Interpolation

    def figures(self, figure: Callable[[Run], float]) -> Floats:
        """Return a figure of each of the steps that were simulated, in order."""
        return np.array([figure(run) for run in self.steps.values()], np.float64)

    def total(self, figure: Callable[[Run], float]) -> float:
        """Return the sum of a figure over all steps."""
        return self.between.total(self.figures(figure))

    def totals(self, figures: Callable[[Run], Mapping[str, float]]) -> dict[str, float]:
        """Return the sums of named figures over all steps; one that a step lacks is 0 there."""
        each = [figures(run) for run in self.steps.values()]
        return {
            name: self.between.total(np.array([one.get(name, 0.0) for one in each], np.float64))
            for name in dict.fromkeys(name for one in each for name in one)
        }

    @cached_property
    def cycles(self) -> Floats:
        """Cycles of each step, simulated or interpolated."""
        cycles = np.zeros(len(self.between.known) + len(self.between.rest))
        cycles[self.between.known] = known = self.figures(step_cycles)
        cycles[self.between.rest] = self.between.between(known)
        return cycles

    @property
    def error(self) -> float:
        """Error of the sum of `cycles`, as a share: two standard errors of what lies between."""
        total = self.cycles.sum()
        return self.between.error(self.figures(step_cycles)) / total if total else 0.0

    @cached_property
    def traffic(self) -> Traffic:
        """Bytes of all steps."""
        traffic = Traffic()
        for kind, size in self.totals(lambda run: run.traffic.kinds).items():
            traffic.add(kind, max(0, round(size)))
        return traffic

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
        dropped = ("dropped", "dropped_scales")
        kinds = ("weights", "kv_read", "scales", "ddr_read", "program", *dropped)
        return sum(self.traffic.kinds[kind] for kind in kinds) / max(1, len(self.cycles))

    @property
    def hbm_bytes_per_token(self) -> float:
        """Bytes that a decode step reads from HBM and uses."""
        kinds = self.traffic.kinds
        return (kinds["weights"] + kinds["kv_read"]) / max(1, len(self.cycles))

    @property
    def peak(self) -> float:
        """Bytes a second at the pins of the HBM ports that the machine has."""
        ports = self.setup.program.config.kv.hbm_ports
        return self.setup.device.hbm.channel_gb_s * 1e9 * ports

    @property
    def bandwidth_efficiency(self) -> float:
        """Bytes that decode reads from HBM over what the ports would read at their peak."""
        return self.hbm_bytes_per_token * self.tokens_per_second / self.peak

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
        Steps to simulate at least, spread over the answer; twice as many as long as the error is
        more than `ERROR`. None for every one.
    """
    kv = setup.kv_memory()
    prefill = Machine(setup, kv=kv).prefill()
    known = features(setup)
    steps: dict[int, Run] = {}
    while True:
        chosen = _chosen(len(known), samples)
        steps = _simulated(setup, deepcopy(kv), chosen, steps)
        between = Interpolation(known, np.array(list(steps), np.int64) - setup.workload.prompt)
        result = Performance(setup=setup, prefill=prefill, steps=steps, between=between)
        if samples is None or result.error <= ERROR:
            return result
        samples *= 2


def _simulated(
    setup: Setup, kv: KVMemory, chosen: set[int], before: dict[int, Run]
) -> dict[int, Run]:
    """Return the runs of the steps chosen, and of those before, by position, in order."""
    workload, dealer = setup.workload, Dealer(setup.program, setup.workload)
    steps: dict[int, Run] = {}
    for index, position in enumerate(range(workload.prompt, workload.tokens)):
        if position in before:
            steps[position] = before[position]
        if index in chosen and position not in before:
            steps[position] = Machine(setup, kv=kv).step(position)
        else:
            dealer.step(kv, position)
    return steps


def _chosen(count: int, samples: int | None) -> set[int]:
    """Return one step of each of `samples` equal stretches, first and last included."""
    if samples is None or count <= max(samples, len(FEATURES) + 2):
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
