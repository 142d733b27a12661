"""What the array takes at a time of the entries of attention."""

from dataclasses import dataclass

from hwroute.models.ops.kv_rounds import rounds_to_records
from hwroute.sim.performance.batches import batches_of
from hwroute.sim.performance.executor import Setup
from hwroute.sim.performance.reproduce.cases import dealt


@dataclass(frozen=True, kw_only=True)
class Taken:
    """Means over the times that the array takes entries.

    Parameters
    ----------
    entries
        That it takes at a time, one of each source at most.
    beats
        In which its loader takes a line of all of them.
    empty
        Of these, those in which no source brings anything.
    """

    entries: float
    beats: float
    empty: float


def taken_by_array(setup: Setup, first: int = 1) -> Taken:
    """Return what the array takes where the history buffer holds nothing.

    Parameters
    ----------
    setup
        Whose prompt is attended to.
    first
        Layer from which on.
    """
    kv, workload = dealt(setup), setup.workload
    entries, batches = 0, []
    for layer in range(first, len(workload.executed)):
        order = rounds_to_records(kv.attend(layer, workload.prompt, False))
        entries += len(order)
        batches += batches_of(order, setup.program.config, buffered=False).batches
    groups = [group for batch in batches for group in batch.groups]
    empty = sum(not len(group) for group in groups)
    count = len(batches)
    return Taken(entries=entries / count, beats=len(groups) / count, empty=empty / count)
