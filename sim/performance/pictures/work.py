"""What units worked on, and for how long: every cycle of a unit counted once."""

from hwroute.isa.fields import Unit
from hwroute.program import Program
from hwroute.sim.performance.busy import Stretch, stretches
from hwroute.sim.performance.pictures.style import BLUE, GREEN, PINK, RED, YELLOW
from hwroute.sim.performance.result import Event, Run
from hwroute.timing import UNIT_QUEUE_CYCLES

WAITING, IDLE = "waiting for others", "no instruction"
PROJECTIONS, SCORES, VALUES, FFN, HEAD = (
    "attention projections",
    "scores",
    "values",
    "FFN",
    "head",
)
WORK_COLOURS = {FFN: BLUE, PROJECTIONS: GREEN, SCORES: RED, VALUES: YELLOW, HEAD: PINK}
"""What the array works on, and its colour."""


def work_of(program: Program, event: Event) -> str:
    """Return what an instruction is part of: one of WORK_COLOURS for the array, else its name."""
    if event.name != "matmul":
        return event.name
    parts = program.operations[event.index].split(".")
    if "attention" in parts:
        return PROJECTIONS
    return FFN if "ffn" in parts else HEAD


def cycles_by_work(program: Program, run: Run) -> dict[Unit, dict[str, float]]:
    """Return the cycles of each unit by what it did; those of a unit add up to the run's.

    WAITING are those in which it worked on nothing, while its next instruction lacked a token or a
    place; IDLE the others, in which the sequencer had handed it none.
    """
    found = {}
    for unit, parts in stretches(run).items():
        sums: dict[str, float] = {}
        for part in parts:
            work = work_of(program, part.event)
            sums[work] = sums.get(work, 0.0) + part.end - part.start
        busy = sum(sums.values())
        sums[WAITING] = _outside(_waits(run, unit), parts)
        sums[IDLE] = run.cycles - busy - sums[WAITING]
        found[unit] = sums
    return found


def _waits(run: Run, unit: Unit) -> list[tuple[float, float]]:
    """Return when a unit's next instruction lacked something, in order and apart."""
    spans: list[tuple[float, float]] = []
    reached = run.start
    for event in sorted(run.events, key=lambda one: one.issued):
        start = max(event.handed + UNIT_QUEUE_CYCLES, reached)
        if event.unit is unit and event.issued > start:
            spans.append((start, event.issued))
            reached = event.issued
    return spans


def _outside(spans: list[tuple[float, float]], parts: list[Stretch]) -> float:
    """Return the length of spans outside of stretches, both in order and apart."""
    total, at = 0.0, 0
    for start, end in spans:
        total += end - start
        while at < len(parts) and parts[at].end <= start:
            at += 1
        index = at
        while index < len(parts) and parts[index].start < end:
            total -= min(end, parts[index].end) - max(start, parts[index].start)
            index += 1
    return total
