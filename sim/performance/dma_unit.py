"""The DMA unit as a SimPy process: loads and gathers, stores and puts."""

from collections import deque

from hwroute import memory_timing, timing
from hwroute.isa.fields import LINE_BYTES, Unit
from hwroute.rtl.dma_load import ROWS_AHEAD
from hwroute.sim.performance.parts import Parts
from hwroute.sim.performance.unit_queue import Item, Process


class Mover:
    """Rows on their way, `ROWS_AHEAD` at most, as `hwroute.rtl.dma_rows` sends them.

    Parameters
    ----------
    parts
        Of the machine.

    Members
    -------
    last
        When the last row left.
    """

    def __init__(self, parts: Parts):
        self.parts = parts
        self.memories = parts.memories
        self.last = 0.0
        self._moved: deque[float] = deque([0.0] * ROWS_AHEAD, maxlen=ROWS_AHEAD)

    def move(self, item: Item, start: float) -> float:
        """Send an instruction's rows, the first at `start` at the earliest; return its end."""
        one, selected = item.one, len(self.parts.rows(item))
        per_row = one.name == "gather" or bool(one.values.get("per_row"))
        if per_row or one["plane"]:
            start += memory_timing.DMA_LIST_CYCLES
        if not per_row and one["plane"]:
            start += max(1, selected)
        self.last = start
        if not selected:
            return start + memory_timing.DMA_REQUEST_CYCLES + memory_timing.DMA_END_CYCLES
        if one.name == "put":
            return self._put(item, start)
        if one.name == "gather":
            # The line of the first row's id comes first; the others' ids are in it.
            ids = self.memories.ddr_arrival(start + memory_timing.DMA_REQUEST_CYCLES)
            start = ids + memory_timing.DMA_ID_CYCLES
        rows = selected if per_row else 1
        writes = one.name == "store"
        kind = "ddr_written" if writes else "ddr_read"
        self.parts.count(item, kind, rows * one["lines"] * LINE_BYTES)
        period = (
            memory_timing.DMA_GATHER_ROW_CYCLES
            if one.name == "gather"
            else memory_timing.DMA_ROW_CYCLES
        )
        for row in range(rows):
            place = self._moved[0] - memory_timing.DMA_PLACE_CYCLES
            self.last = max(self.last + period if row else start, place)
            self._moved.append(
                self._row(self.last + memory_timing.DMA_REQUEST_CYCLES, one["lines"], writes)
            )
        if not writes:
            return self._moved[-1] + memory_timing.DMA_END_CYCLES
        before = memory_timing.DMA_ROW_START_CYCLES + memory_timing.DMA_REQUEST_CYCLES
        way = memory_timing.DMA_STORE_CYCLES + timing.SCRATCHPAD_READ_CYCLES - before
        return self._moved[-1] + way + self.memories.ddr_latency

    def _row(self, request: float, lines: int, writes: bool) -> float:
        """Move a row that is asked for at `request`; return when it has passed the port."""
        if writes:
            return self.memories.move_ddr(request, lines, write=True)
        first = self.memories.ddr_arrival(request)
        moved = self.memories.move_ddr(first, lines)
        return max(moved, first + memory_timing.DMA_LINE_PERIOD_CYCLES * lines)

    def _put(self, item: Item, start: float) -> float:
        """Write an id; return the end."""
        self.parts.count(item, "ddr_written", LINE_BYTES)
        self.memories.move_ddr(start + memory_timing.DMA_REQUEST_CYCLES, 1, write=True)
        way = memory_timing.DMA_PUT_CYCLES - memory_timing.DMA_ROW_START_CYCLES
        return start + way + self.memories.ddr_latency


def serve_dma(parts: Parts) -> Process:
    """Run loads one behind the other, and stores; between the two everything before is done.

    An instruction is taken when the rows of the one before have left, and then waits until it may
    start.
    """
    env, queue, mover = parts.env, parts.queue(Unit.DMA), Mover(parts)
    end, stores, alone = 0.0, False, False
    while True:
        item = yield from queue.offered()
        yield from parts.until(mover.last + 1)
        queue.take()
        writes, puts = item.one.name in ("store", "put"), item.one.name == "put"
        start = env.now + memory_timing.DMA_ROW_START_CYCLES
        start = max(start, mover.last + memory_timing.DMA_SETTLE_CYCLES + 1)
        if puts or alone or writes != stores:
            start = max(start, end + memory_timing.DMA_ROW_START_CYCLES)
        stores, alone = writes, puts
        yield from parts.until(start)
        # Ends come in the order of the instructions.
        end = max(end + 1, mover.move(item, start))
        env.process(parts.retire_at(item, end))
