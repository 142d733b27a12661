# amaranth: UnusedElaboratable=no
"""The values unit against the interpreter, bit for bit, and how fast it is."""

from typing import Any

import numpy as np
import pytest

from hwroute import timing
from hwroute.rtl.values import ValuesControl

# Units that fit in the array, by accumulator rows and columns.
ARRAYS = [
    pytest.param({}, id="demo-2-units"),
    pytest.param({"accumulator_rows": 64}, id="8-units"),
    pytest.param({"columns": 32, "accumulator_rows": 16, "kv_vectors": 4}, id="4-units-of-4-parts"),
    pytest.param(
        {"columns": 64, "accumulator_rows": 32, "kv_vectors": 2}, id="16-units-of-2-parts"
    ),
    pytest.param({"columns": 128, "accumulator_rows": 16, "kv_vectors": 8}, id="16-units-whole"),
]


def add_random(unit: Any) -> None:
    """Add any instruction whose operands are there."""
    rng, lines = unit.rng, int(unit.rng.choice([1, 1, 2]))
    kv_heads, queries = unit.vector_lines // lines, int(rng.integers(1, 4))
    first = int(rng.integers(0, kv_heads * queries))
    heads = int(rng.integers(1, min(4, kv_heads * queries - first) + 1))
    rows = int(rng.integers(1, min(4, unit.config.array.accumulator_rows) + 1))
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
        maximum=160 * (len(unit.issued) % 4),
        sum=700 + 60 * (len(unit.issued) % 4),
        out_pitch=2 * heads * lines + int(rng.integers(3)),
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


def test_decode_of_a_head_of_two_lines(bench: Any, config_of: Any) -> None:
    """A token of a tile attends to itself and 70 before it: scores straddle lines."""
    config = config_of(accumulator_rows=64)
    unit = bench(config, seed=4, tokens=np.arange(70), position=70)
    fields = {"heads": 4, "queries": 2, "head_lines": 2, "own": 1, "pitch": 1}
    unit.add(1, **fields, maximum=3, sum=30)
    unit.run()
    # 4 lines of V, 2 queries each: all of them in one pass.
    assert unit.sweeps == [{"value": 1, "line": 0, "lines": 4}]


def test_prefill_hides_what_comes_later(bench: Any, config_of: Any) -> None:
    """Rows see different entries; one sees none, whose sum is zero."""
    unit = bench(config_of(accumulator_rows=64), seed=5, tokens=[7, 5, 6, 9, 8, 10], position=4)
    unit.add(8, heads=2, queries=2)
    unit.add(8, heads=2, queries=1, plane=4, maximum=200)
    unit.run()
    assert unit.words[768] == 0


def test_units_that_do_not_fit_go_in_chunks(bench: Any, config_of: Any) -> None:
    """3 rows by 3 query heads in 2 units at a time: the array has them in 5 passes a line."""
    unit = bench(config_of(), seed=6, tokens=np.arange(11))
    unit.add(3, heads=3, queries=3, first=3, head_lines=2)
    unit.run()
    lines = [(sweep["line"], sweep["lines"]) for sweep in unit.sweeps]
    assert lines == [(2, 1)] * 5 + [(3, 1)] * 5


def test_passes_take_as_many_lines_as_fit(bench: Any, config_of: Any) -> None:
    """Groups of 1, 3, 3 and 1 heads, 2 rows, 8 units: a group that does not fit whole waits."""
    unit = bench(config_of(accumulator_rows=64), seed=7, tokens=np.arange(5))
    unit.add(2, heads=8, queries=3, first=2)
    unit.run()
    lines = [(sweep["line"], sweep["lines"]) for sweep in unit.sweeps]
    assert lines == [(0, 2), (2, 2)]


def test_only_the_own_entry(bench: Any, config_of: Any) -> None:
    unit = bench(config_of(), seed=8, tokens=[], stall=0.2)
    unit.add(1, heads=2, queries=2, head_lines=2, own=1)
    unit.run()


def test_own_value_raises_the_reference(bench: Any, config_of: Any) -> None:
    """Its exponent is above every other's, and below: then it changes nothing."""
    for power in (14, -13):
        unit = bench(config_of(), seed=9, tokens=np.arange(7))
        own = np.full(64, 1.5 * 2.0**power, np.float16)
        unit.state.scratchpad[8:12] = own.view(np.uint16)
        unit.add(1, heads=1, own=1)
        unit.run()
        references = {int(beat["reference"]) for _, beat in unit.array.beats}
        assert (references == {15 + 14}) == (power == 14)


def test_many_batches_of_one_entry(bench: Any, config_of: Any) -> None:
    unit = bench(config_of(), seed=10, tokens=np.arange(20), batch=1, stall=0.2)
    unit.add(2, heads=2, queries=2, own=0)
    unit.run()


def test_empty_plane_only_ends(bench: Any, config_of: Any) -> None:
    unit = bench(config_of(), seed=11, tokens=np.arange(5))
    unit.add(4, plane=1)
    unit.add(2)
    # What would be an error does not matter where there is no row.
    unit.add(4, plane=1, out=1023, head_lines=3)
    unit.add(1, plane=2)
    unit.run()
    assert len(unit.sweeps) == 2


WRONG = {
    "no-rows": (0, {}),
    "too-many-rows": (17, {}),
    "scores-beyond": (2, {"scores": 1022, "scores_pitch": 3, "heads": 2, "queries": 2}),
    "out-beyond": (3, {"out": 1023 - 2 * 7, "out_pitch": 7}),
    "own-beyond": (1, {"v": 1021, "own": 1, "head_lines": 2, "first": 1}),
    "maximum-beyond": (2, {"maximum": 1023 - 3 * 16, "heads": 2, "queries": 2}),
    "sum-beyond": (4, {"sum": 1021}),
    "head-not-in-vector": (1, {"first": 4}),
    "heads-not-in-vector": (1, {"first": 3, "heads": 2}),
    "head-lines-do-not-divide": (1, {"head_lines": 3}),
}


def test_errors_end_an_instruction_alone(bench: Any, config_of: Any) -> None:
    """What comes behind is not touched by what an instruction in error asked for."""
    unit = bench(config_of(), seed=12, tokens=np.arange(6), stall=0.1)
    unit.add(2, own=1)
    for rows, fields in WRONG.values():
        unit.add(rows, **fields)
        unit.add(1)
    unit.run()
    failed = [bool(error) for error, _ in unit.done]
    assert failed == [False] + [True, False] * len(WRONG)


def test_edges_of_memories_are_no_errors(bench: Any, config_of: Any) -> None:
    unit = bench(config_of(), seed=13, tokens=np.arange(6))
    unit.add(2, scores=1021, scores_pitch=1, out=1020, out_pitch=2, maximum=1006, sum=767)
    unit.add(1, v=1020, own=1, head_lines=2, first=1, sum=1023)
    unit.run()
    assert not any(error for error, _ in unit.done)


def test_no_entry_is_an_error(bench: Any, config_of: Any) -> None:
    unit = bench(config_of(), seed=14, tokens=[])
    unit.add(1)
    unit.add(1, own=1)
    unit.run()
    assert [bool(error) for error, _ in unit.done] == [True, False]


def test_memory_error_fails_the_instruction_that_runs(bench: Any, config_of: Any) -> None:
    unit = bench(config_of(), seed=15, tokens=np.arange(6))
    unit.add(1)
    unit.add(1)
    unit.run(faults={60: 0})


@pytest.mark.parametrize(
    ("rows", "fields"),
    [
        (1, {}),
        (4, {"heads": 2, "queries": 2, "first": 2}),
        (1, {"heads": 8, "queries": 2, "own": 1, "pitch": 1}),
        (3, {"heads": 2, "queries": 1, "first": 1}),
    ],
)
def test_latencies_are_what_timing_says(
    bench: Any, config_of: Any, rows: int, fields: dict[str, int]
) -> None:
    config = config_of(columns=128, accumulator_rows=16, kv_vectors=8)
    unit = bench(config, seed=16, tokens=np.arange(9), position=9, latency=1)
    unit.add(rows, **fields)
    unit.run()
    cycles = {name: np.array(end.cycles) for name, end in unit.ends.items()}
    (sweep,) = unit.sweeps
    expected = timing.values_sweep_cycles(rows, unit.vector_lines, sweep["lines"])
    assert cycles["sweep"][0] - cycles["issue"][0] == expected
    units = rows * fields.get("heads", 1)
    assert cycles["ask_x"][0] - cycles["sweep"][0] == timing.values_start_cycles(units)
    assert cycles["x"][0] - cycles["ask_x"][0] == timing.VALUES_SCORES_CYCLES
    assert cycles["done"][0] - cycles["write"][-1] == timing.VALUES_END_CYCLES


def test_a_beat_a_cycle_from_pass_to_pass(bench: Any, config_of: Any) -> None:
    """8 rows by 4 heads in 8 units at a time: tiles come faster than their beats go."""
    unit = bench(config_of(accumulator_rows=64), seed=17, tokens=np.arange(12))
    unit.add(8, heads=4, queries=4)
    unit.run()
    assert len(unit.sweeps) == 4
    beats = np.array(unit.ends["x"].cycles)
    assert np.ptp(beats) + 1 == len(beats) == 4 * 8 * 8 * len(unit.ends["batches"].cycles) // 4


def test_scores_that_straddle_take_another_cycle(bench: Any, config_of: Any) -> None:
    """An array with all dimensions in one part, 16 units a pass, batches of 6 and fewer."""
    config = config_of(columns=128, accumulator_rows=16, kv_vectors=8)
    unit = bench(config, seed=18, tokens=np.arange(70), position=70)
    unit.add(8, heads=2, queries=2)
    unit.run()
    beats = np.array(unit.ends["x"].cycles)
    straddling = len(unit.ends["ask_x"].cycles) - len(beats)
    assert straddling == 16
    assert np.ptp(beats) + 1 == len(beats) + straddling


def test_wrong_sizes_are_refused() -> None:
    sizes: Any = 16
    with pytest.raises(TypeError, match="Sizes must be a Config, not 16"):
        ValuesControl(sizes)
