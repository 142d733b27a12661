# amaranth: UnusedElaboratable=no
"""The scores unit against the interpreter, bit for bit, and how fast it is."""

from typing import Any

import numpy as np
import pytest

ARRAYS = [
    pytest.param({}, id="demo"),
    pytest.param({"columns": 32, "accumulator_rows": 8, "kv_vectors": 4}, id="16-columns"),
    pytest.param({"columns": 128, "accumulator_rows": 16, "kv_vectors": 8}, id="64-columns"),
]


def add_random(unit: Any) -> None:
    """Add any instruction whose operands are there."""
    rng, lines = unit.rng, int(unit.rng.choice([1, 1, 2]))
    kv_heads, queries = unit.vector_lines // lines, int(rng.integers(1, 4))
    first = int(rng.integers(0, kv_heads * queries))
    heads = int(rng.integers(1, min(4, kv_heads * queries - first) + 1))
    rows = int(rng.integers(1, min(6, unit.config.array.accumulator_rows) + 1))
    pitch = int(rng.integers(rows, 12))
    unit.add(
        rows,
        plane=int(rng.choice([0, 0, 2, 3, 4, 5])),
        heads=heads,
        first=first,
        queries=queries,
        head_lines=lines,
        own=int(rng.integers(2)) if len(unit.kv.tokens) else 1,
        pitch=pitch,
        q_pitch=heads * lines + int(rng.integers(3)),
        out_pitch=-(-(len(unit.kv.tokens) + 1) // 64) + int(rng.integers(2)),
    )


@pytest.mark.parametrize(
    ("count", "stall"), [(12, 0.35), pytest.param(23, 0.0, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("array", ARRAYS)
def test_instructions_are_those_of_the_interpreter(
    bench: Any, config_of: Any, array: dict[str, int], count: int, stall: float
) -> None:
    tokens = np.random.default_rng(count).choice(30, count, replace=False)
    unit = bench(config_of(**array), seed=count, tokens=tokens, stall=stall)
    for _ in range(4):
        add_random(unit)
    unit.run()


@pytest.mark.parametrize(
    "count", [63, 64, *(pytest.param(count, marks=pytest.mark.slow) for count in (65, 70))]
)
def test_scores_straddle_lines(bench: Any, config_of: Any, count: int) -> None:
    """Decode with heads of two lines: zeros behind the last entry, the own one included."""
    unit = bench(config_of(), seed=4, tokens=np.arange(count), position=count)
    fields = {"heads": 4, "queries": 2, "head_lines": 2, "pitch": 1}
    unit.add(1, **fields, own=1)
    unit.add(1, **fields, maximum=300)
    unit.run()
    assert unit.sweeps == 2 * [{"value": 0, "line": 0, "lines": 4}]


def test_prefill_hides_what_comes_later(bench: Any, config_of: Any) -> None:
    """Rows see different entries; one sees none."""
    unit = bench(config_of(), seed=5, tokens=[7, 5, 6, 9, 8, 10], position=4)
    unit.add(8, heads=2, queries=2)
    unit.add(8, heads=3, queries=1, first=1, plane=4)
    unit.run()
    assert unit.words[0] == (-(1 << 16)) & 0xFFFF_FFFF


def test_rows_that_do_not_fit_go_in_passes(bench: Any, config_of: Any) -> None:
    """6 rows by 3 query heads in 8 accumulator rows: 2 rows at a time, of two lines."""
    unit = bench(config_of(accumulator_rows=8), seed=6, tokens=np.arange(11))
    unit.add(6, heads=3, queries=3, first=3, head_lines=2)
    unit.run()
    assert unit.sweeps == 3 * [{"value": 0, "line": 2, "lines": 2}]


def test_heads_that_do_not_fit_go_in_passes(bench: Any, config_of: Any) -> None:
    """30 heads by 9 rows are more than 256 pairs."""
    unit = bench(config_of(), seed=16, tokens=np.arange(3))
    unit.add(9, heads=30, queries=8, q_pitch=30, out=520, maximum=0, pitch=9)
    unit.run(40_000)
    assert len(unit.sweeps) == 2


def test_only_what_is_seen_saturates(bench: Any, config_of: Any) -> None:
    """Scores above the largest FP16 count for rows that attend to them, and only for those."""
    seen = []
    for position in (2, 20):
        unit = bench(config_of(), seed=8, tokens=[30, 10, 11], position=position, sigma=9.0)
        unit.add(2, heads=2, queries=2)
        unit.run()
        seen.append(unit.overflowed)
    assert seen == [False, True]


def test_own_entry_alone(bench: Any, config_of: Any) -> None:
    """Without earlier entries there are no references, and one score."""
    unit = bench(config_of(), seed=9, tokens=[])
    unit.add(1, heads=4, queries=2, head_lines=2, own=1)
    unit.run()


@pytest.mark.parametrize("stall", [pytest.param(0.0, marks=pytest.mark.slow), 0.3])
def test_errors_end_the_instruction(bench: Any, config_of: Any, stall: float) -> None:
    """What leads beyond a memory or a vector writes nothing; the next instruction is right."""
    unit = bench(config_of(), seed=10, tokens=np.arange(9), stall=stall)
    good = {"heads": 2, "queries": 2}
    for wrong in (
        {"out": 1023, "heads": 2},
        {"q": 1020, "heads": 5},
        {"k": 1022, "own": 1, "first": 3},
        {"maximum": 1023, "heads": 2},
        {"heads": 1, "first": 8},
        {"head_lines": 3},
    ):
        unit.add(1, **good | wrong)
        unit.add(2, **good, own=1)
    unit.add(0, **good)
    unit.add(17, **good)
    unit.add(3, **good, plane=1)
    unit.add(3, **good)
    unit.run()
    errors = [bool(error) for error, _ in unit.done]
    assert errors == [True, False] * 5 + [True, False, True, True, False, False]


def test_no_entry_is_an_error(bench: Any, config_of: Any) -> None:
    unit = bench(config_of(), seed=11, tokens=[])
    unit.add(1, heads=1)
    unit.add(1, heads=1, own=1)
    unit.run()
    assert [bool(error) for error, _ in unit.done] == [True, False]


def test_a_beat_a_cycle(bench: Any, config_of: Any) -> None:
    """Beats follow each other: 4 heads of one line, 8 rows, one batch after the other."""
    unit = bench(config_of(), seed=12, tokens=np.arange(40), position=40)
    unit.add(8, heads=4, queries=2, out_pitch=1)
    unit.run()
    cycles = [cycle for cycle, _ in unit.array.beats]
    batches = len(cycles) // 32
    assert cycles[-1] - cycles[0] + 1 <= len(cycles) + 2 * batches


def test_decode_does_not_wait_for_scores_to_be_written(bench: Any, config_of: Any) -> None:
    """Batches of 4 beats: those whose scores are in the array hold up none behind them.

    A tile of up to 6 entries takes 3 cycles to load here, 2 tiles a batch.
    """
    unit = bench(config_of(), seed=12, tokens=np.arange(40), position=40)
    unit.add(1, heads=4, queries=2, out_pitch=1)
    unit.run()
    cycles = [cycle for cycle, _ in unit.array.beats]
    batches = len(unit.ends["batches"].payloads)
    assert len(cycles) == 4 * batches
    assert cycles[-1] - cycles[0] + 1 <= 6 * batches
