"""The study's captured dot products are those that the golden model computes."""

import numpy as np
import pytest

from hwroute.column_format import LANES
from hwroute.config import PRESETS, Numerics, Rounding, Variant
from hwroute.models.generate import Tracer
from hwroute.models.golden import Golden
from hwroute.models.ops.columns import columns_of
from hwroute.models.random_weights import RandomCheckpoint
from hwroute.models.sequence import Sequence
from hwroute.models.study.capture import Capture, capture
from hwroute.models.study.measure import Final
from hwroute.models.study.rows import whole_rows
from hwroute.models.study.sources import Matmul, Mix, Scores
from hwroute.models.study.variants import VARIANTS, Operands
from hwroute.numerics import fp32_to_fp16

ALIGNED = next(variant for variant in VARIANTS if variant.key == "aligned")


@pytest.fixture(scope="module")
def captured(random_model: RandomCheckpoint) -> Capture:
    """Return what the random model multiplies in two windows."""
    ids = np.random.default_rng(1).integers(0, 128, 64).tolist()
    return capture(random_model, PRESETS["demo"], ids, windows=2, window=32)


def test_captured_operands_give_the_golden_models_results(
    captured: Capture, random_model: RandomCheckpoint
) -> None:
    """The second window, layer 1, where tokens skip."""
    ids = np.random.default_rng(1).integers(0, 128, 64)
    tracer = Tracer(random_model, PRESETS["demo"])
    golden = Golden(random_model, PRESETS["demo"], observer=tracer)
    golden.forward(ids[32:], Sequence(random_model.shape))
    wide = {record.operation: record.outputs for record in tracer.trace.records}
    columns = columns_of(Numerics(variant=Variant.ALIGNED))
    scores, mix = captured.sources["scores"][-1], captured.sources["values"][-1]
    assert isinstance(scores, Scores)
    assert isinstance(mix, Mix)
    found, _ = fp32_to_fp16(
        columns.scores(scores.q.reshape(1, -1, 64), scores.k), Rounding.NEAREST_EVEN
    )
    rows, entries = scores.visible.T
    expected = wide["layers.1.attention.scores"]["scores"].transpose(1, 0, 2)
    np.testing.assert_array_equal(
        found.reshape(2, -1, scores.k.shape[1])[:, rows, entries], expected[:, rows, entries]
    )
    mixed = columns.values(
        mix.p.reshape(1, -1, mix.p.shape[2]), mix.v, np.tile(mix.references, (1, 2, 1))
    )
    np.testing.assert_array_equal(
        mixed.reshape(2, -1, 64), wide["layers.1.attention.attend"]["mixed"].transpose(1, 0, 2)
    )


def test_a_block_of_a_row_is_aligned_to_the_rows_reference(captured: Capture) -> None:
    """Rows of one block: the study's sum is the golden model's, before its last rounding."""
    mix = captured.sources["values"][-1]
    dots = mix.sample(np.random.default_rng(6), 50)
    columns = columns_of(Numerics(variant=Variant.ALIGNED))
    ours = ALIGNED.compute(Operands(dots))
    assert dots.y_reference is not None
    assert dots.product_reference is not None
    for row in range(50):
        # One column of values, the rest of whose block is zero but for what fixes its exponent.
        v = np.zeros((1, LANES, LANES), np.uint16)
        v[0, :, 0] = dots.y[row]
        v[0, :, 1] = dots.y_reference[row] << 10
        reference = np.array([[[dots.product_reference[row] - 30]]])
        golden = columns.values(dots.x[row][None, None], v, reference)[0, 0, 0]
        assert golden == np.float32(ours[row])


def test_a_matmuls_samples_pair_the_same_block_of_inputs() -> None:
    x = (0x0400 + np.arange(5 * 192)).astype(np.uint16).reshape(5, 192)
    weights = np.repeat(np.arange(3, dtype=np.int8), 64)[None].repeat(7, axis=0)
    source = Matmul(x=x, weights=weights)
    sample = source.sample(np.random.default_rng(7), 300)
    assert source.count == 5 * 7 * 3
    first = sample.x[:, 0].astype(int) - 0x0400
    np.testing.assert_array_equal(first % 192 // 64, sample.y[:, 0])
    assert len(set(first.tolist())) == 15
    np.testing.assert_array_equal(sample.x, sample.x[:, :1] + np.arange(64))


def test_scores_are_sampled_where_the_query_attends_and_heads_share_keys() -> None:
    q = (0x0400 + np.arange(4 * 3)).astype(np.uint16).reshape(4, 3, 1).repeat(64, axis=2)
    k = (0x0400 + np.arange(2 * 5)).astype(np.uint16).reshape(2, 5, 1).repeat(64, axis=2)
    visible = np.array([[0, 0], [2, 0], [2, 3]])
    source = Scores(q=q, k=k, visible=visible)
    sample = source.sample(np.random.default_rng(8), 400)
    head, row = np.divmod(sample.x[:, 0].astype(int) - 0x0400, 3)
    kv_head, entry = np.divmod(sample.y[:, 0].astype(int) - 0x0400, 5)
    np.testing.assert_array_equal(kv_head, head // 2)
    pairs = {*zip(row.tolist(), entry.tolist(), strict=True)}
    assert pairs == {tuple(pair) for pair in visible.tolist()}
    assert source.count == 4 * 3


def test_values_are_sampled_with_the_exponents_of_their_tokens_and_the_rows_reference() -> None:
    """Four heads on two KV heads, two rows of which the first sees one block of entries."""
    entries, dims = 128, 128
    p = (0x0400 + np.arange(4 * 2)).astype(np.uint16).reshape(4, 2, 1).repeat(entries, axis=2)
    v = (0x0400 + np.arange(2 * entries * dims)).astype(np.uint16).reshape(2, entries, dims)
    exponents = np.arange(2 * entries * 2).reshape(2, entries, 2)
    references = 1000 + np.arange(2 * 2 * 2).reshape(2, 2, 2)
    source = Mix(
        p=p, v=v, exponents=exponents, references=references, last=np.array([63, 64]), dims=100
    )
    assert source.count == 4 * 100 * 3
    sample = source.sample(np.random.default_rng(9), 2_000)
    head, row = np.divmod(sample.x[:, 0].astype(int) - 0x0400, 2)
    flat = sample.y.astype(int) - 0x0400
    kv_head, entry, dim = flat // (entries * dims), flat // dims % entries, flat % dims
    np.testing.assert_array_equal(kv_head, np.repeat(head[:, None] // 2, LANES, axis=1))
    np.testing.assert_array_equal(entry - entry[:, :1], np.tile(np.arange(LANES), (2_000, 1)))
    assert {*zip(row.tolist(), entry[:, 0].tolist(), strict=True)} == {(0, 0), (1, 0), (1, 64)}
    assert {*dim.ravel().tolist()} == set(range(100))
    block = dim[:, 0] // LANES
    np.testing.assert_array_equal(
        sample.y_reference, exponents[kv_head, entry, np.repeat(block[:, None], LANES, axis=1)]
    )
    assert sample.product_reference is not None
    np.testing.assert_array_equal(
        sample.product_reference - 30, references[kv_head[:, 0], row, block]
    )


def test_a_rows_reference_is_the_largest_exponent_that_it_attends_to(captured: Capture) -> None:
    later = False
    for source in captured.sources["values"]:
        assert isinstance(source, Mix)
        for row, last in enumerate(source.last.tolist()):
            seen = source.exponents[:, : last + 1].max(axis=1)
            np.testing.assert_array_equal(source.references[:, row], seen)
            later |= bool((source.exponents.max(axis=1) > seen).any())
    # Some row would have had another one, had it seen what comes after it.
    assert later


def test_a_text_that_is_too_short_is_refused(random_model: RandomCheckpoint) -> None:
    with pytest.raises(ValueError, match="Text must be at least 64 tokens long, not 63"):
        capture(random_model, PRESETS["demo"], [1] * 63, windows=2, window=32)


def test_whole_rows_of_all_variants_have_the_same_exact_sums(captured: Capture) -> None:
    cell = whole_rows(captured, (1, 2))
    for seed in (1, 2):
        exact = {t.exact for (_, _, s), t in cell.totals.items() if s == seed}
        assert len(exact) == 1
    assert {total.error for total in cell.of("exact", Final.NONE)} == {0.0}
    for wide, default in zip(
        cell.of("aligned-24-qp", Final.NONE), cell.of("aligned", Final.NONE), strict=True
    ):
        assert 0 < wide.error < default.error
