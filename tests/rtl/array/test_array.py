# amaranth: UnusedElaboratable=no
"""The PE array against the golden operators, in every mode and both variants."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hwroute.config import PRESETS, Numerics, Variant
from hwroute.rtl.array import PEArray
from hwroute.rtl.array_layouts import Mode
from hwroute.rtl.emit import emit
from hwroute.timing import ARRAY_BEAT_DISTANCE, array_cycles

LARGEST, SMALLEST, SUBNORMAL, ONE = 0x7BFF, 0x0400, 0x03FF, 0x3C00


def spread(rng: Any, shape: Any, sigma: float = 2.0) -> Any:
    """FP16 with outliers: normal times log-normal."""
    wide = rng.standard_normal(shape) * np.exp2(sigma * rng.standard_normal(shape))
    return np.clip(wide, -6e4, 6e4).astype(np.float16).view(np.uint16)


def weights(rng: Any, columns: int, length: int) -> tuple[Any, Any]:
    values = rng.integers(-8, 8, (columns, length)).astype(np.int8)
    return values, spread(rng, (columns, -(-length // 128)), 0.5)


def probabilities(rng: Any, tokens: int, length: int) -> Any:
    p = (2.0**15 * rng.random((tokens, length)) ** 6).astype(np.float16).view(np.uint16)
    p[rng.random(p.shape) < 0.2] = 0
    p[:, 0] = 0x7800
    return p


def reference_of(script: Any, v: Any) -> int:
    return int(script.golden.value_exponents(v[None]).max())


def add_values(script: Any, rng: Any, length: int) -> None:
    """Add as many rows of probabilities as fit, with references of their own."""
    tokens = min(2, script.config.array.accumulator_rows // script.shape.parts)
    v = spread(rng, (length, 64))
    reference = reference_of(script, v)
    script.values(probabilities(rng, tokens, length), v, [reference, 31][:tokens])


@pytest.mark.cpp
def test_int4_corners(bench, tmp_path):
    """Zeros, subnormals, the largest and smallest values, all weights -8, cancellation."""
    columns = bench.config.array.columns
    script = bench.script()
    x = np.zeros((6, 64), np.uint16)
    x[1], x[2], x[3], x[4] = SUBNORMAL, LARGEST, LARGEST | 0x8000, SMALLEST
    x[5, ::2], x[5, 1::2] = LARGEST, LARGEST | 0x8000
    scales = np.full((columns, 1), ONE, np.uint16)
    scales[::3] |= 0x8000
    for value in (-8, 7, 0):
        script.int4(x, np.full((columns, 64), value, np.int8), scales)
    mixed = np.tile(np.array([-8, 7], np.int8), (columns, 32))
    mixed[1::2] = 7
    script.int4(x, mixed, np.full((columns, 1), LARGEST, np.uint16))
    script.int4(x, mixed, np.zeros((columns, 1), np.uint16))
    bench.run(script, tmp_path)


@pytest.mark.cpp
def test_scores_corners(bench, tmp_path):
    script = bench.script()
    width = script.shape.fp16_columns
    rows = np.array([0, SUBNORMAL, LARGEST, LARGEST | 0x8000, SMALLEST, ONE], np.uint16)
    q = np.repeat(rows[:, None], 64, axis=1)
    k = np.repeat(np.resize(rows, width)[:, None], 64, axis=1)
    script.scores(q, k)
    k[:, ::2] ^= 0x8000
    script.scores(q, k)
    q[:, 0], k[:, 1] = LARGEST, 0
    script.scores(q, k)
    bench.run(script, tmp_path)


@pytest.mark.cpp
def test_values_corners(bench, tmp_path):
    """Probabilities 0, 1 (2**15) and the smallest, values of extreme exponents in one row."""
    script = bench.script()
    v = np.zeros((70, 64), np.uint16)
    v[0], v[1], v[2], v[3], v[66] = LARGEST, SMALLEST, LARGEST | 0x8000, SUBNORMAL, ONE
    for chosen in ([0], [1], [0, 2], [3, 66], list(range(70))):
        p = np.zeros((1, 70), np.uint16)
        p[0, chosen] = 0x7800
        p[0, 69] = SMALLEST
        script.values(p, v, [reference_of(script, v[[*chosen, 69]])])
    bench.run(script, tmp_path)


@pytest.mark.cpp
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_random_programs_of_all_modes(bench, tmp_path, stall):
    rng = np.random.default_rng(31)
    columns = bench.config.array.columns
    script = bench.script()
    for _ in range(6):
        tokens = int(rng.integers(1, 9))
        script.int4(spread(rng, (tokens, 256)), *weights(rng, columns, 256))
        keys = int(rng.integers(1, script.shape.fp16_columns + 1))
        script.scores(spread(rng, (tokens, 128)), spread(rng, (keys, 128)))
        add_values(script, rng, int(rng.integers(1, 140)))
    bench.run(script, tmp_path, stall=stall, seed=5)


@pytest.mark.cpp
def test_latency_is_what_timing_says(bench, tmp_path):
    rng = np.random.default_rng(32)
    script = bench.script()
    script.int4(spread(rng, (1, 64)), *weights(rng, bench.config.array.columns, 64))
    run = bench.run(script, tmp_path)
    latency = run.out_cycles["o"][0] - run.in_cycles["x"][0]
    assert latency == array_cycles(aligned=bench.aligned)


@pytest.mark.cpp
def test_a_beat_with_a_new_tile_starts_every_cycle(bench, tmp_path):
    """200 tiles, 200 rows: tiles are written, read and sent at full rate."""
    rng = np.random.default_rng(33)
    script = bench.script()
    tiles = weights(rng, bench.config.array.columns, 64)
    for index in range(200):
        script.int4(spread(rng, (1, 64)), *tiles, slots=[index % 2])
    run = bench.run(script, tmp_path)
    assert set(np.diff(run.in_cycles["x"]).tolist()) == {1}
    assert set(np.diff(run.in_cycles["w"]).tolist()) == {1}
    assert set(np.diff(run.out_cycles["o"]).tolist()) == {1}


@pytest.mark.cpp
@pytest.mark.parametrize("rows", [1, 2, 3, 6, 8])
def test_beats_to_a_row_keep_their_distance(bench, tmp_path, rows):
    """With fewer rows in turn than an addition takes, beats wait; with enough they do not."""
    rng = np.random.default_rng(34)
    script = bench.script()
    script.int4(spread(rng, (rows, 640)), *weights(rng, bench.config.array.columns, 640))
    run = bench.run(script, tmp_path)
    starts = run.in_cycles["x"].reshape(10, rows)
    assert set(np.diff(starts[:, 0]).tolist()) == {max(rows, ARRAY_BEAT_DISTANCE)}


@pytest.mark.cpp
def test_integers_are_added_to_a_row_every_cycle_and_floats_at_a_distance(bench, tmp_path):
    rng = np.random.default_rng(35)
    script = bench.script()
    v, p = spread(rng, (64, 64)), probabilities(rng, 5, 64)
    reference = reference_of(script, v)
    script.tile(v, 64, True)
    for index, lanes in enumerate(p):
        flags = {"first": index == 0, "last": index == 4, "hold": index < 4}
        script.beat(Mode.VALUES, lanes, 3, reference=reference, **flags)
    again = np.tile(v, (5, 1))[None]
    row = script.golden.values(p.reshape(1, 1, -1), again, np.full((1, 1, 1), reference))
    script.rows.append((3, row[0, 0, : min(64, script.shape.fp16_columns)]))
    run = bench.run(script, tmp_path)
    distance = 1 if bench.aligned else ARRAY_BEAT_DISTANCE
    assert set(np.diff(run.in_cycles["x"]).tolist()) == {distance}


@pytest.mark.cpp
def test_keys_load_a_beat_a_cycle_and_values_a_part_a_cycle(bench, tmp_path):
    rng = np.random.default_rng(37)
    script = bench.script()
    shape = script.shape
    script.scores(spread(rng, (1, 64)), spread(rng, (shape.fp16_columns, 64)))
    keys = shape.fp16_columns // shape.vectors
    v = spread(rng, (64, 64))
    script.values(probabilities(rng, 1, 64), v, [reference_of(script, v)])
    starts = bench.run(script, tmp_path).in_cycles["kv"]
    assert set(np.diff(starts[: keys + 1]).tolist()) == {1}
    assert set(np.diff(starts[keys:]).tolist()) == {shape.parts}


@pytest.mark.cpp
def test_the_order_of_tokens_changes_no_bit_of_aligned_values(bench, tmp_path):
    rng = np.random.default_rng(36)
    v = spread(rng, (100, 64))
    p = probabilities(rng, 1, 100)
    outputs = []
    for name, order in (("a", np.arange(100)), ("b", rng.permutation(100))):
        script = bench.script()
        script.values(p[:, order], v[order], [reference_of(script, v)])
        outputs.append(bench.run(script, tmp_path / name).outputs["o"]["columns"])
    width = min(64, bench.script().shape.fp16_columns)
    same = np.array_equal(outputs[0][:, :width], outputs[1][:, :width])
    assert same == bench.aligned


def test_what_is_no_configuration_is_refused():
    with pytest.raises(TypeError, match="Config must be a Config, not 'demo'"):
        PEArray("demo")


@pytest.mark.parametrize("variant", list(Variant))
def test_u280_is_emitted_with_each_unit_once(variant):
    config = replace(PRESETS["u280"], numerics=Numerics(variant=variant))
    text = emit(PEArray(config), "pe_array")
    assert text.count("\nmodule hwroute_column_pair(") == 1
    assert text.count("\nmodule hwroute_pair_accumulator(") == 1
    assert text.count("  hwroute_column_pair ") == 64
