"""The DMA unit does what `hwroute.models.interpreter.moves` does."""

from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
import pytest

from hwroute import memory_timing
from hwroute.config import PRESETS
from hwroute.isa.fields import LINE_BYTES
from hwroute.rtl.dma import DMA
from hwroute.rtl.emit import emit

DDR_LINES, LINES, TILE = 512, 256, 16
IDS, VOCABULARY = 8, 40
Stalls = pytest.mark.parametrize(("stall", "latency"), [(0.0, 1), (0.0, 60), (0.4, 20)])


@Stalls
@pytest.mark.parametrize("seed", [1, 2])
def test_random_instructions_leave_the_golden_memories(
    system: Callable[..., Any], draw: Any, stall: float, latency: int, seed: int
) -> None:
    random = Random(seed)
    issues = [draw(random) for _ in range(40)]
    one = system(stall=stall, latency=latency)
    before = one.scratchpad.copy(), bytes(one.content)
    one.run(issues)
    one.compare()
    assert {each.one.name for each in issues} == {"load", "store", "gather", "put"}
    assert (one.scratchpad != before[0]).any()
    assert one.content != before[1]


def corners(issue: Any) -> list[Any]:
    """Return the edges of memories, tiles and planes, and what must wait for what is before it."""
    return [
        issue("load", to=LINES - 1, address=DDR_LINES - 1, lines=1),
        issue("store", **{"from": LINES - 1}, address=DDR_LINES - 2, lines=1),
        # The whole tile; row 15 ends with both memories.
        issue(
            "load", to=LINES - 32, to_pitch=2, address=DDR_LINES - 48, stride=3, lines=2,
            per_row=1, rows=TILE,
        ),
        # The empty plane moves no row, nor one that is for all; a full one moves that once.
        issue("load", to=0, address=60, lines=2, plane=1, per_row=1, rows=TILE),
        issue("load", to=4, address=60, lines=2, plane=1, per_row=0, rows=TILE),
        issue("store", **{"from": 4}, address=64, lines=2, plane=1, per_row=0, rows=TILE),
        issue("load", to=6, address=60, lines=2, plane=2, per_row=0, rows=TILE),
        issue("put", ids=IDS, position=30, value=3, plane=1, rows=TILE),
        issue("put", ids=IDS, position=29, value=3, plane=2, rows=TILE),
        issue("gather", to=0, table=60, ids=IDS, vocabulary=VOCABULARY, lines=1, plane=1, rows=4),
        # Ids from the end of a line to the start of the next, and a row that is not read twice.
        issue(
            "gather", to=8, to_pitch=1, table=60, ids=IDS, vocabulary=VOCABULARY, lines=1,
            position=30, rows=4,
        ),
        # An id that was just put, and a line that was just stored.
        issue("put", ids=IDS, position=31, value=VOCABULARY - 1),
        issue("gather", to=40, table=60, ids=IDS, vocabulary=VOCABULARY, lines=3, position=31),
        issue("store", **{"from": 40}, address=300, lines=3),
        issue("load", to=50, address=300, lines=3),
        issue("store", **{"from": 50}, address=303, lines=3),
        issue("put", ids=303, position=0, value=(1 << 32) - 1),
        issue("put", ids=303, position=47, value=5),
        issue("load", to=60, address=303, lines=3),
    ]  # fmt: skip


@Stalls
def test_corners(system: Callable[..., Any], issue: Any, stall: float, latency: int) -> None:
    one = system(stall=stall, latency=latency)
    one.run(corners(issue))
    one.compare()


WRONG: list[tuple[str, dict[str, int]]] = [
    ("load", {"to": LINES, "address": 0, "lines": 1}),
    ("load", {"to": LINES - 1, "address": 0, "lines": 2}),
    ("load", {"to": 0, "address": DDR_LINES, "lines": 1}),
    ("load", {"to": 0, "address": DDR_LINES - 1, "lines": 2}),
    ("load", {"to": 0, "address": 1, "stride": 1, "lines": 1, "value": (1 << 32) - 1}),
    ("load", {"to": 0, "address": 0, "stride": 65535, "lines": 1, "value": (1 << 32) - 1}),
    # Times 2**18, the sum is a multiple of 2**32.
    ("load", {"to": 0, "address": 0, "stride": 1 << 14, "lines": 1, "value": 1 << 18}),
    ("load", {"to": 0, "address": 0, "lines": 1, "rows": 0}),
    ("load", {"to": 0, "address": 0, "lines": 1, "rows": TILE + 1}),
    ("load", {"to": 0, "address": 0, "lines": 1, "per_row": 1, "rows": (1 << 32) - 1}),
    ("load", {"to": 0, "to_pitch": 64, "address": 0, "lines": 1, "per_row": 1, "rows": 6}),
    ("store", {"from": 0, "address": DDR_LINES, "lines": 1}),
    ("store", {"from": LINES, "address": 300, "lines": 1}),
    ("put", {"ids": DDR_LINES, "value": 3}),
    ("put", {"ids": IDS, "position": (1 << 32) - 1, "value": 3}),
    ("gather", {"to": 0, "table": 60, "ids": DDR_LINES, "vocabulary": 40, "lines": 1, "rows": 3}),
    ("gather", {"to": 0, "table": 60, "ids": IDS, "vocabulary": 1, "lines": 1, "rows": 9}),
    ("gather", {"to": 0, "table": 60, "ids": 0, "vocabulary": 40, "lines": 1, "rows": 3}),
    (
        "gather",
        {"to": 0, "table": DDR_LINES, "ids": IDS, "vocabulary": 40, "lines": 1, "rows": 9},
    ),
]


@pytest.mark.parametrize("stall", [0.0, 0.4])
def test_what_the_golden_model_refuses_ends_with_an_error(
    system: Callable[..., Any], issue: Any, stall: float
) -> None:
    one = system(stall=stall)
    fine = issue("load", to=100, address=20, lines=3)
    issues = [each for name, fields in WRONG for each in (issue(name, **fields), fine)]
    one.run(issues)
    assert sum(one.expect([each])[0] & 1 for each in issues) == len(WRONG)


@pytest.mark.parametrize(
    ("bad", "name", "fields"),
    [
        (60, "load", {"to": 0, "address": 58, "lines": 4}),
        (60, "gather", {"to": 0, "table": 60, "ids": 8, "vocabulary": 40, "lines": 4}),
        (IDS, "gather", {"to": 0, "table": 60, "ids": IDS, "vocabulary": 40, "lines": 4}),
        (60, "store", {"from": 0, "address": 58, "lines": 4}),
        (IDS, "put", {"ids": IDS, "value": 4}),
    ],
)
def test_an_error_of_the_memory_ends_its_instruction_only(
    system: Callable[..., Any], issue: Any, bad: int, name: str, fields: dict[str, int]
) -> None:
    # Every row of the table is hit, whatever the id.
    places = range(bad * LINE_BYTES, (DDR_LINES if bad == 60 else bad + 1) * LINE_BYTES, 64)
    one = system(bad=places)
    fine = issue("load", to=100, address=20, lines=3)
    one.issue([fine, issue(name, **fields), fine])
    ends, _ = one.bench.drain(one.unit.done, 3)
    one.bench.run()
    assert [end & 1 for end in ends] == [0, 1, 0]


@pytest.mark.parametrize(("rows", "lines"), [(1, 200), (16, 2), (8, 8)])
def test_loads_take_two_cycles_a_line(
    system: Callable[..., Any], issue: Any, rows: int, lines: int
) -> None:
    latency = 40
    one = system(latency=latency)
    load = issue(
        "load", to=0, to_pitch=lines, address=20, stride=lines, lines=lines, per_row=1, rows=rows
    )
    issued, ended = one.run([load])
    assert set(np.diff(one.written)) == {memory_timing.DMA_LINE_PERIOD_CYCLES}
    assert ended[0] - issued[0] == memory_timing.dma_load_cycles(
        rows * lines, latency, per_row=True
    )
    one.compare()


def test_instructions_of_one_direction_do_not_wait_for_each_other(
    system: Callable[..., Any], issue: Any
) -> None:
    one = system(latency=60)
    issued, ended = one.run([issue("load", to=n, address=20, lines=2) for n in range(20)])
    assert set(np.diff(issued)[1:]) == {memory_timing.DMA_INSTRUCTION_CYCLES}
    assert max(np.diff(ended)) == memory_timing.DMA_INSTRUCTION_CYCLES
    assert ended[0] - issued[0] == memory_timing.dma_load_cycles(2, 60, per_row=False)


def test_a_load_ends_after_its_last_line_is_written(system: Callable[..., Any], issue: Any) -> None:
    one = system(write_stall=0.8)
    lines = [1, 3, 1, 1, 2, 5, 1, 1, 1, 4] * 3
    issued = [issue("load", to=4 * n, address=20 + n, lines=lines[n]) for n in range(len(lines))]
    _, ended = one.run(issued)
    last = np.array(one.written)[np.cumsum(lines) - 1]
    assert (np.array(ended) > last).all()
    assert (np.array(ended) == last + 1).any()


@pytest.mark.parametrize(("rows", "lines"), [(1, 200), (16, 2), (8, 8)])
def test_stores_take_two_cycles_a_line(
    system: Callable[..., Any], issue: Any, rows: int, lines: int
) -> None:
    latency = 40
    one = system(latency=latency)
    fields = {"from": 0, "from_pitch": lines, "address": 20, "stride": lines, "lines": lines}
    issued, ended = one.run([issue("store", per_row=1, rows=rows, **fields)])
    assert ended[0] - issued[0] == memory_timing.dma_store_cycles(
        rows * lines, 3, latency, per_row=True
    )
    one.compare()


@pytest.mark.parametrize("after", [10, 60, 200])
@pytest.mark.parametrize("stall", [0.0, 0.4])
def test_after_forgetting_the_next_run_is_clean(
    system: Callable[..., Any], issue: Any, after: int, stall: float
) -> None:
    one = system(stall=stall, latency=40)
    old = issue("load", to=0, to_pitch=4, address=20, stride=4, lines=4, per_row=1, rows=TILE)
    kept = {"from": 0, "from_pitch": 4, "address": 20, "stride": 4, "lines": 4}
    one.issue([old, issue("store", per_row=1, rows=TILE, **kept)] * 3)
    one.bench.tell_to_forget(after)
    one.run([old, *corners(issue)], again=True)
    one.compare()


def test_the_unit_is_written_at_full_size() -> None:
    text = emit(DMA(PRESETS["u280"]), "dma")
    assert "module dma(" in text
