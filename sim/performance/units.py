"""NPE and router as SimPy processes."""

from typing import Any

import numpy as np

from hwroute import timing
from hwroute.isa.fields import Unit
from hwroute.sim.performance import costs, fusion
from hwroute.sim.performance.mechanisms import split_sum_cycles
from hwroute.sim.performance.parts import Parts
from hwroute.sim.performance.unit_queue import Process
from hwroute.sim.performance.workload import Workload


def serve_npe(parts: Parts) -> Process:
    """One instruction after the other."""
    queue = parts.queue(Unit.NPE)
    while True:
        item = yield from queue.offered()
        queue.take()
        rows = len(parts.rows(item))
        if rows:
            # argmax is of row 0 alone, the others of each row.
            cycles = costs.npe_cycles(item.one, rows)
            if not parts.free.fused:
                cycles = fusion.separated_cycles(item.one, rows, cycles)
            if parts.free.mechanisms.split_sums and item.one.name == "reduce":
                cycles = split_sum_cycles(rows, item.one["lines"], cycles)
            yield parts.env.timeout(cycles)
        else:
            yield parts.env.timeout(timing.NPE_EMPTY_CYCLES)
        parts.sequencer.retire(item)
        yield parts.env.timeout(timing.NEXT_CYCLES)


def serve_router(parts: Parts) -> Process:
    """One instruction after the other; decisions are the workload's."""
    queue = parts.queue(Unit.ROUTER)
    while True:
        item = yield from queue.offered()
        queue.take()
        one, rows, start = item.one, item.event.rows, item.event.position
        yield parts.env.timeout(costs.router_cycles(one, rows))
        bits = np.arange(rows) == rows - 1
        if one.name == "decide":
            bits = decided(one, start, rows, parts.workload)
        parts.registers.planes[one["to"], :rows] = bits
        parts.sequencer.retire(item)
        yield parts.env.timeout(timing.NEXT_CYCLES)


def decided(one: Any, start: int, rows: int, workload: Workload) -> Any:
    """Return the bits [rows] that a decide instruction writes."""
    if one.choice("mode") == "compare":
        bits = workload.executed[one["layer"], one["kind"], start : start + rows].copy()
    else:
        bits = np.full(rows, one.choice("mode") == "execute")
    bits[: max(0, one["first_tokens"] - start)] = True
    return bits
