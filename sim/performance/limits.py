"""What limits a decode step: where the cycles go in which HBM does not move what is needed."""

from collections import defaultdict
from itertools import pairwise

import numpy as np

from hwroute.isa.fields import Unit
from hwroute.sim.performance.breakdown import array_cycles, stretch
from hwroute.sim.performance.executor import Setup
from hwroute.sim.performance.interpolation import effective
from hwroute.sim.performance.result import Event, Run

CONTROL = "sequencer"
USED_KINDS = ("weights", "kv_read")


def needed_cycles(run: Run, kinds: list[str], rate: float) -> dict[str, float]:
    """Return the cycles that the bytes of a stretch take HBM, by what the array works on.

    Parameters
    ----------
    run
        A decode step.
    kinds
        `breakdown.operation_kinds` of its Program.
    rate
        Bytes a cycle that all ports deliver of long sequential reads.
    """
    cycles: dict[str, float] = defaultdict(float)
    start, end = stretch(run)
    for event in run.events:
        if event.unit is Unit.ARRAY and start <= event.issued < end:
            cycles[kinds[event.index]] += sum(event.moved.get(kind, 0) for kind in USED_KINDS)
    return {kind: size / rate for kind, size in cycles.items()}


def lost_cycles(run: Run, kinds: list[str], rate: float) -> dict[str, float]:
    """Return the cycles of a stretch less `needed_cycles`, by what the array works on.

    Those in which it has nothing to do are kept apart by what works meanwhile (`idle_cycles`).
    """
    spent, needed = array_cycles(run, kinds), needed_cycles(run, kinds, rate)
    lost = {kind: spent.get(kind, 0.0) - size for kind, size in needed.items()}
    return lost | {f"waiting for {name}": size for name, size in idle_cycles(run).items()}


def idle_cycles(run: Run) -> dict[str, float]:
    """Return the cycles in which the array has nothing to do, by the instruction that works then.

    Of several units that work at a time it is the last in the order DMA, KV, NPE, router; where
    none does, it is the sequencer: branches, drains, fetches.
    """
    gaps = _gaps(run)
    others = [one for one in run.events if one.unit is not Unit.ARRAY]
    others.sort(key=lambda one: one.issued)
    idle: dict[str, float] = defaultdict(float)
    for begin, end in gaps:
        near = [one for one in others if one.issued < end and one.retired > begin]
        for name, size in _shares(begin, end, near).items():
            idle[name] += size
    return dict(idle)


_ORDER = {unit: rank for rank, unit in enumerate((Unit.DMA, Unit.KV, Unit.NPE, Unit.ROUTER))}


def _gaps(run: Run) -> list[tuple[float, float]]:
    """Return the stretches without an instruction on the array."""
    reached, end = stretch(run)
    gaps = []
    for event in (one for one in run.events if one.unit is Unit.ARRAY):
        if reached < event.issued < end:
            gaps.append((reached, event.issued))
        reached = max(reached, event.retired)
    return [*gaps, (reached, end)] if reached < end else gaps


def _shares(begin: float, end: float, near: list[Event]) -> dict[str, float]:
    """Return a gap's cycles by who works in it."""
    cuts = sorted(
        {begin, end, *(min(max(one.issued, begin), end) for one in near)}
        | {min(max(one.retired, begin), end) for one in near}
    )
    shares: dict[str, float] = defaultdict(float)
    for low, high in pairwise(cuts):
        work = [one for one in near if one.issued <= low and one.retired >= high]
        last = max(work, key=lambda one: _ORDER[one.unit], default=None)
        shares[last.name if last else CONTROL] += high - low
    return shares


def largest_hit_share(setup: Setup, *, survivors: bool) -> float:
    """Return the share of entries that a history buffer of any size could serve in decode.

    A token finds in it what it read at the layer before and this layer reuses; with `survivors`
    what it read at the last layer whose attention it executed, and all layers since reuse.
    """
    executed = effective(setup.program, setup.workload)[:, 0, :]
    workload, layers = setup.workload, len(executed)
    counts: dict[tuple[int, int], np.ndarray] = {}

    def reused(since: int, layer: int) -> np.ndarray:
        """Return for each number of tokens how many of them are reused from `since` on."""
        if (since, layer) not in counts:
            all_skip = ~executed[since + 1 : layer + 1].any(axis=0)
            counts[since, layer] = np.concatenate([[0], np.cumsum(all_skip)])
        return counts[since, layer]

    hits = total = 0
    for token in range(workload.prompt, workload.tokens):
        last = -1
        for layer in range(layers):
            if executed[layer, token]:
                total += token
                if last >= 0 and (survivors or last == layer - 1):
                    hits += int(reused(last, layer)[token])
                last = layer
    return hits / total if total else 0.0
