"""The parts of the DMA unit take the stated cycles."""

from collections.abc import Callable
from typing import Any

import numpy as np

from hwroute import memory_timing
from hwroute.config import PRESETS
from hwroute.rtl.dma_layouts import COMMAND, IDS, ROW_TO_MOVE, Move
from hwroute.rtl.dma_places import DMAPlaces
from hwroute.rtl.dma_rows import DMARows
from hwroute.rtl.issue_layouts import ISSUED
from hwroute.rtl.row_list_layouts import ROW

CONFIG = PRESETS["u280"]
ROWS = 16


def test_places_take_a_row_a_cycle(bench: Any, packed: Callable[..., int]) -> None:
    unit: Any = DMAPlaces(CONFIG)
    one = bench(unit)
    fields = {"move": Move.LOAD.value, "lines": 3, "base": 1 << 20, "stride": 60_000}
    rows = [
        packed(ROW_TO_MOVE, times=200_000 // 60 + n, to=9, pitch=70, row=n, end=n == 19, **fields)
        for n in range(20)
    ]
    given = one.feed(unit.i, rows)
    commands, cycles = one.drain(unit.o, 20)
    one.run()
    assert cycles == [cycle + memory_timing.DMA_PLACE_CYCLES for cycle in given]
    assert set(np.diff(cycles)) == {1}
    places = [
        tuple(
            command >> COMMAND[name].offset & (1 << COMMAND[name].width) - 1
            for name in ("ddr", "scratchpad")
        )
        for command in commands
    ]
    first = (1 << 20) + 60_000 * (200_000 // 60)
    assert places == [(first + 60_000 * n, 9 + 70 * n) for n in range(20)]


def spacing(bench: Any, packed: Callable[..., int], instruction: Any) -> set[int]:
    """Return the cycles from row to row of an instruction, its ids in one line."""
    unit: Any = DMARows(CONFIG)
    one = bench(unit)

    async def quiet(context: Any) -> None:
        context.set(unit.settled, 1)
        context.set(unit.quiet, 1)

    one.simulator.add_testbench(quiet)
    words = {"word": instruction.one.encode(), "rows": ROWS}
    one.feed(unit.i, [packed(ISSUED, **words)])
    one.drain(unit.rows.request, 1)
    one.feed(unit.rows.rows, [packed(ROW, row=n, last=n == ROWS - 1) for n in range(ROWS)])
    one.feed(unit.ids, [packed(IDS)])
    gathers = instruction.one.name == "gather"
    _, cycles = one.drain(unit.o, ROWS + gathers)
    one.run()
    return set(np.diff(cycles[2 * gathers :]))


def test_rows_follow_each_other(bench: Any, packed: Callable[..., int], issue: Any) -> None:
    load = issue("load", lines=1, per_row=1)
    gather = issue("gather", lines=1, vocabulary=1)
    assert spacing(bench, packed, load) == {memory_timing.DMA_ROW_CYCLES}
    assert spacing(bench, packed, gather) == {memory_timing.DMA_GATHER_ROW_CYCLES}
