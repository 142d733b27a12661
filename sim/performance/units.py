"""DMA, NPE and router as SimPy processes."""

from typing import Any

import numpy as np

from hwroute import timing
from hwroute.isa.fields import LINE_BYTES, Unit
from hwroute.sim.performance import costs, fusion
from hwroute.sim.performance.parts import Parts
from hwroute.sim.performance.unit_queue import Process
from hwroute.sim.performance.workload import Workload


def serve_npe(parts: Parts) -> Process:
    """One instruction after the other."""
    while True:
        item = yield parts.inbox(Unit.NPE).get()
        rows = len(parts.rows(item))
        if rows:
            # argmax is of row 0 alone, the others of each row.
            cycles = costs.npe_cycles(item.one, rows)
            if not parts.free.fused:
                cycles = fusion.separated_cycles(item.one, rows, cycles)
            yield parts.env.timeout(cycles)
        else:
            yield parts.env.timeout(timing.ROW_LIST_CYCLES)
        parts.sequencer.retire(item)


def serve_router(parts: Parts) -> Process:
    """One instruction after the other; decisions are the workload's."""
    while True:
        item = yield parts.inbox(Unit.ROUTER).get()
        one, rows, start = item.one, item.event.rows, item.event.position
        yield parts.env.timeout(costs.router_cycles(one, rows))
        bits = np.arange(rows) == rows - 1
        if one.name == "decide":
            bits = decided(one, start, rows, parts.workload)
        parts.registers.planes[one["to"], :rows] = bits
        parts.sequencer.retire(item)


def decided(one: Any, start: int, rows: int, workload: Workload) -> Any:
    """Return the bits [rows] that a decide instruction writes."""
    if one.choice("mode") == "compare":
        bits = workload.executed[one["layer"], one["kind"], start : start + rows].copy()
    else:
        bits = np.full(rows, one.choice("mode") == "execute")
    bits[: max(0, one["first_tokens"] - start)] = True
    return bits


def serve_dma(parts: Parts) -> Process:
    """Run loads one behind the other, and stores; between the two everything before is done."""
    memories, env = parts.memories, parts.env
    stores, end, free = False, 0.0, 0.0
    while True:
        item = yield parts.inbox(Unit.DMA).get()
        one = item.one
        per_row = one.name == "gather" or bool(one.values.get("per_row"))
        rows = len(parts.rows(item)) if per_row else 1
        writes = one.name in ("store", "put")
        # A put, and a change of direction, wait for all before; a gather reads its ids first.
        waits = end if writes != stores or one.name == "put" else 0.0
        yield from parts.until(max(free, waits))
        stores, start = writes, env.now
        if not len(parts.rows(item)):
            free, end = start + timing.DMA_INSTRUCTION_CYCLES, max(end, start + 1)
            env.process(parts.retire_at(item, end))
            continue
        lines = rows * one.values.get("lines", 1)
        way = timing.DMA_LIST_CYCLES if per_row else 0
        if one.name == "gather":
            way += memories.ddr_latency + timing.DMA_LOAD_CYCLES
        row = timing.DMA_GATHER_ROW_CYCLES if one.name == "gather" else timing.DMA_ROW_CYCLES
        first = start + way + memories.ddr_latency
        moved = memories.move_ddr(first, lines, write=writes)
        parts.count(item, "ddr_written" if writes else "ddr_read", lines * LINE_BYTES)
        fixed = timing.DMA_LOAD_CYCLES
        if writes:
            fixed = timing.DMA_STORE_CYCLES + timing.SCRATCHPAD_READ_CYCLES
        end = max(end, max(moved, first + rows * row) + fixed)
        free = max(start + max(timing.DMA_INSTRUCTION_CYCLES, rows * row), moved - first + start)
        env.process(parts.retire_at(item, end))
