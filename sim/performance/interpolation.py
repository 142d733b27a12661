"""What decode steps that were not simulated take: least squares over those that were."""

import numpy as np
from numpy.typing import NDArray

from hwroute.isa.instruction import Instruction
from hwroute.policy_terms import KVRule
from hwroute.program import Program
from hwroute.sim.performance.executor import Setup
from hwroute.sim.performance.expected_rounds import attended
from hwroute.sim.performance.units import decided
from hwroute.sim.performance.workload import KINDS, Workload

CERTAIN = 2.0
"""Standard errors that an error is."""
FEATURES = ("one", *KINDS, "entries", "reused", "walked", "queued")
Floats = NDArray[np.float64]


class Interpolation:
    """Least squares over the steps that were simulated, of any figure that a step has.

    Figures that add up do so after interpolation, too, for it is linear.

    Parameters
    ----------
    features
        What the figures of each step depend on: [steps, features].
    known
        Indices of the steps that were simulated, ascending.
    """

    def __init__(self, features: Floats, known: NDArray[np.int64]):
        self.known = known
        self.rest = np.setdiff1d(np.arange(len(features)), known)
        inside, outside = features[known], features[self.rest]
        # Columns that are alike in all steps known say nothing beside the first.
        varies = np.ptp(inside, axis=0) > 0 if len(known) else np.zeros(features.shape[1], bool)
        varies[0] = True
        unit = np.abs(inside[:, varies]).max(axis=0, initial=1)
        self._inside, self._outside = inside[:, varies] / unit, outside[:, varies] / unit
        self._inverse = np.linalg.pinv(self._inside.T @ self._inside)

    def between(self, figures: Floats) -> Floats:
        """Return what the rest of the steps have, of what the known ones have."""
        weights = self._inverse @ self._inside.T @ figures
        return np.asarray(self._outside @ weights, np.float64)

    def total(self, figures: Floats) -> float:
        """Return the sum over all steps."""
        return float(figures.sum() + self.between(figures).sum())

    def error(self, figures: Floats) -> float:
        """Return what the sum may be off by: `CERTAIN` standard errors of what is between."""
        if not len(self.rest):
            return 0.0
        inside, inverse = self._inside, self._inverse
        left = figures - inside @ (inverse @ inside.T @ figures)
        leverage = np.einsum("ij,jk,ik->i", inside, inverse, inside)
        # What each step is off by when it is left out of the fit.
        apart = left / np.maximum(1 - leverage, 1e-9)
        variance = float((apart**2).sum()) / max(1, inside.shape[0] - inside.shape[1])
        total = self._outside.sum(axis=0)
        spread = len(self.rest) + float(total @ inverse @ total)
        return CERTAIN * float(np.sqrt(variance * spread))


def features(setup: Setup) -> Floats:
    """Return what the time of each decode step depends on: [steps, len(FEATURES)].

    Sub-layers that execute, by kind; entries that attention goes through, those that it may find in
    the history buffer, and rounds without and with a valid one.
    """
    program, workload = setup.program, setup.workload
    executed = effective(program, workload)
    own, steps = executed[:, 0, :], np.arange(workload.prompt, workload.tokens)
    keeps = setup.parameters.history_buffer
    met = attended(own, _rule(program), program.config.kv, keeps=keeps)
    here = own[:, steps]
    valid = np.zeros_like(here)
    if keeps:
        # The layer before has filled it.
        valid[1:] = here[:-1] & here[1:]
    columns = [
        np.ones(len(steps)),
        here.sum(axis=0),
        executed[:, 1, steps].sum(axis=0),
        (here * met.entries[:, steps]).sum(axis=0),
        (valid * met.reused[:, steps]).sum(axis=0),
        ((here & ~valid) * met.walked[:, steps]).sum(axis=0),
        (valid * met.queued[:, steps]).sum(axis=0),
    ]
    return np.stack(columns, axis=1).astype(np.float64)


def _rule(program: Program) -> KVRule:
    """Return the KV rule that a Program was compiled for."""
    deals = [one for one in program.instructions if one.name == "kv.deal"]
    if all(one["plane"] == 0 for one in deals if one["layer"]):
        return KVRule.DENSE
    evicts = any(one["plane"] and one.choice("rule") == "evict" for one in deals)
    return KVRule.EVICT if evicts else KVRule.REUSE


def effective(program: Program, workload: Workload) -> NDArray[np.bool_]:
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


def written_slots(program: Program, workload: Workload) -> float:
    """Return the share of slots that are written, of one for each token and layer."""
    written = effective(program, workload)[:, 0, :]
    for one in program.instructions:
        if one.name == "kv.deal" and not one["plane"]:
            written[one["layer"]] = True
    return float(written.mean())
