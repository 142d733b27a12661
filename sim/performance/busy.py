"""When a unit was busy with what: every busy cycle counted once."""

from dataclasses import dataclass

from hwroute.isa.fields import QUEUED, Unit
from hwroute.sim.performance.result import Event, Run


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """Cycles in which an instruction was the oldest of those that its unit worked on.

    Parameters
    ----------
    start, end
        Cycles.
    event
        The instruction.
    """

    start: float
    end: float
    event: Event


def stretches(run: Run) -> dict[Unit, list[Stretch]]:
    """Return for each unit, in order, what it was busy with; together its busy cycles.

    A unit may work on several instructions at a time, which end in order. The oldest one is what
    the others wait for, so it has the cycles.
    """
    found: dict[Unit, list[Stretch]] = {unit: [] for unit in QUEUED}
    reached = dict.fromkeys(QUEUED, run.start)
    for event in sorted(run.events, key=lambda one: one.retired):
        start = max(event.issued, reached[event.unit])
        if event.retired > start:
            found[event.unit].append(Stretch(start=start, end=event.retired, event=event))
        reached[event.unit] = max(reached[event.unit], event.retired)
    return found
