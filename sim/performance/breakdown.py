"""Where the time goes: what the array works on, and how busy each unit is."""

import re

from hwroute.isa.fields import Unit
from hwroute.program import Program
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

    Instructions of the array end in their order and overlap. Each has the cycles from its issue,
    or from the end of the one before where that is later, to its own end; in what is left, the
    array is `WAITING`. The sum is the length of the stretch.

    Parameters
    ----------
    run
        A decode step, or the prompt.
    kinds
        `operation_kinds` of its Program.
    """
    reached, end = stretch(run)
    cycles = dict.fromkeys(kinds, 0.0) | {WAITING: 0.0}
    for event in run.events:
        last = min(event.retired, end)
        if event.unit is Unit.ARRAY and reached < last:
            begin = min(max(reached, event.issued), last)
            cycles[kinds[event.index]] += last - begin
            cycles[WAITING] += begin - reached
            reached = last
    cycles[WAITING] += end - reached
    return {kind: count for kind, count in cycles.items() if count or kind == WAITING}


def busy_cycles(run: Run, unit: Unit) -> float:
    """Return the cycles of the stretch in which a unit had an instruction under way."""
    start, end = stretch(run)
    events = [one for one in run.events if one.unit is unit]
    return covered([(max(one.issued, start), min(one.retired, end)) for one in events])
