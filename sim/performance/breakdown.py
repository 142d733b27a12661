"""Where the time goes: what the array works on, and how busy each unit is."""

import re

from hwroute.isa.fields import Unit
from hwroute.program import Program
from hwroute.sim.performance.busy import stretches
from hwroute.sim.performance.result import Run, covered

WAITING = "waiting"
_LAYER = re.compile(r"layers\.\d+\.")


def operation_kinds(program: Program) -> list[str]:
    """Return the kind of operation of each instruction: its name without the layer."""
    return [_LAYER.sub("", name, count=1) for name in program.operations]


def stretch(run: Run) -> tuple[float, float]:
    """Return start and end of a decode step, or of the prompt up to the answer's first token."""
    return (run.marks[0], run.marks[1]) if len(run.marks) > 1 else (run.start, run.marks[0])


def array_cycles(run: Run, kinds: list[str]) -> dict[str, float]:
    """Return the cycles of the stretch by what the array works on, in the Program's order.

    Each instruction has the cycles in which it is the oldest of the array's; in what is left, the
    array is `WAITING`. The sum is the length of the stretch.

    Parameters
    ----------
    run
        A decode step, or the prompt.
    kinds
        `operation_kinds` of its Program.
    """
    start, end = stretch(run)
    cycles = dict.fromkeys(kinds, 0.0)
    for part in stretches(run)[Unit.ARRAY]:
        cycles[kinds[part.event.index]] += max(0.0, min(part.end, end) - max(part.start, start))
    busy = {kind: count for kind, count in cycles.items() if count}
    return busy | {WAITING: end - start - sum(busy.values())}


def busy_cycles(run: Run, unit: Unit) -> float:
    """Return the cycles of the stretch in which a unit had an instruction under way."""
    start, end = stretch(run)
    events = [one for one in run.events if one.unit is unit]
    return covered([(max(one.issued, start), min(one.retired, end)) for one in events])
