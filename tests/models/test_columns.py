"""Both column variants against float64 evaluation of the same operations, and at their corners."""

import numpy as np
import pytest

from hwroute.config import Numerics, Variant
from hwroute.models.ops.columns import AlignedColumns, OverpackedColumns, columns_of
from hwroute.numerics import align_block, fixed_to_fp32

VARIANTS = [Variant.ALIGNED, Variant.OVERPACKED]
LARGEST, SMALLEST, ONE = 0x7BFF, 0x0400, 0x3C00
ALIGNED_BOUND = {"int4": 2.0**-14, "fp16": 2.0**-16}
"""Half a unit in the last place of an aligned operand, relative to its block's largest power."""


def fp16(values):
    return np.asarray(values, np.float16).view(np.uint16)


def real(bits):
    normal = (bits & 0x7C00) != 0
    return np.where(normal, bits, 0).astype(np.uint16).view(np.float16).astype(np.float64)


def spread(rng, shape, sigma=3.0):
    """FP16 with outliers: a normal distribution times a log-normal one."""
    wide = rng.standard_normal(shape) * np.exp2(sigma * rng.standard_normal(shape))
    return fp16(np.clip(wide, -6e4, 6e4))


def blockwise_largest(bits):
    """Largest magnitude in each block of 64, [..., nb, 1]."""
    return np.abs(real(bits)).reshape(*bits.shape[:-1], -1, 64).max(axis=-1, keepdims=True)


def columns(variant):
    return columns_of(Numerics(variant=variant))


def test_columns_of_returns_the_variant_that_numerics_names():
    assert isinstance(columns(Variant.ALIGNED), AlignedColumns)
    assert isinstance(columns(Variant.OVERPACKED), OverpackedColumns)


def test_numerics_of_another_variant_are_refused():
    with pytest.raises(ValueError, match="Numerics variant must be 'aligned', not 'overpacked'"):
        AlignedColumns(Numerics(variant=Variant.OVERPACKED))


def test_scales_of_a_wrong_shape_are_refused():
    with pytest.raises(ValueError, match=r"Scales must be of shape \(4, 2\), not \(4, 1\)"):
        columns(Variant.ALIGNED).prepare(np.zeros((4, 256), np.int8), np.zeros((4, 1), np.uint16))


@pytest.mark.parametrize("variant", VARIANTS)
def test_zeros_fill_up_the_last_block_and_the_last_group(variant):
    random = np.random.default_rng(20)
    x = fp16(random.standard_normal((3, 200)))
    values = random.integers(-8, 8, (4, 200), dtype=np.int8)
    scales = fp16(random.uniform(0.1, 1, (4, 2)))
    found = columns(variant).matmul_int4(x, values, scales)
    filled = [np.pad(array, [(0, 0), (0, 56)]) for array in (x, values)]
    assert (found == columns(variant).matmul_int4(*filled, scales)).all()


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_reference_below_a_value_exponent_is_refused_unless_masked(variant):
    v = np.full((1, 2, 64), ONE, np.uint16)
    v[0, 1] = LARGEST
    p = fp16([[[1.0, 0.0]]])
    reference = np.full((1, 1, 1), 15)
    assert columns(variant).values(p, v, reference).tolist() == [[[1.0] * 64]]
    with pytest.raises(ValueError, match="exponent of every value, not 15 below"):
        columns(variant).values(fp16([[[1.0, 1.0]]]), v, reference)


@pytest.mark.parametrize("weight", [-8, 7])
@pytest.mark.parametrize("x", [LARGEST, LARGEST | 0x8000, SMALLEST, ONE])
def test_int4_float32_sums_are_exact_at_the_corners(x, weight):
    """The bound of the BLAS product: 64 * 8 * 16383 < 2**23."""
    bits = np.full((1, 1, 64), x, np.uint16)
    sums, power = columns(Variant.ALIGNED).block_dot_int4(bits, np.full((1, 1, 64), weight))
    assert abs(int(sums[0, 0, 0])) < 1 << 23
    assert np.ldexp(float(sums[0, 0, 0]), int(power[0, 0, 0])) == 64 * weight * real(bits)[0, 0, 0]


def test_int4_float32_sums_equal_integer_sums():
    rng = np.random.default_rng(3)
    c = columns(Variant.ALIGNED)
    x = spread(rng, (8, 2, 64))
    x[0] = LARGEST
    x[1, :, ::2] = LARGEST | 0x8000
    w = rng.integers(-8, 8, (16, 2, 64)).astype(np.int8)
    w[0], w[1, :, ::2] = -8, 7
    sums, power = c.block_dot_int4(x, w)
    aligned, exponent = align_block(x, 14)
    np.testing.assert_array_equal(sums, np.einsum("tbl,nbl->tnb", aligned, w.astype(np.int64)))
    np.testing.assert_array_equal(power[:, 0], exponent - 28)


def test_fp16_float64_sums_are_exact_at_the_corners():
    rows = np.array([LARGEST, LARGEST | 0x8000, SMALLEST, ONE], np.uint16)
    x = np.repeat(rows[:, None], 64, axis=1)
    sums, power = columns(Variant.ALIGNED).block_dot_fp16(x, x)
    assert np.abs(sums).max() < 1 << 40
    expected = 64 * np.outer(real(rows), real(rows))
    np.testing.assert_array_equal(np.ldexp(sums.astype(np.float64), power), expected)


@pytest.mark.parametrize("variant", VARIANTS)
def test_prepared_weights_give_block_dot_products_scaled_and_accumulated(variant):
    rng = np.random.default_rng(4)
    c = columns(variant)
    x, w = spread(rng, (5, 384)), rng.integers(-8, 8, (24, 384)).astype(np.int8)
    scales = fp16(rng.uniform(-0.1, 0.1, (24, 3)))
    sums, power = c.block_dot_int4(x.reshape(5, 6, 64), w.reshape(24, 6, 64))
    expected = np.zeros((5, 24), np.float32)
    for block in range(6):
        term = fixed_to_fp32(sums[..., block], power[..., block])
        scale = real(scales[:, block // 2]).astype(np.float32)
        expected = expected + term * scale
    np.testing.assert_array_equal(c.matmul_int4(x, w, scales), expected)


@pytest.mark.parametrize("sigma", [0.0, 3.0])
def test_aligned_matmul_is_bounded_against_float64(sigma):
    rng = np.random.default_rng(5)
    x, w = spread(rng, (16, 512), sigma), rng.integers(-8, 8, (32, 512)).astype(np.int8)
    scales = fp16(rng.uniform(0.01, 0.1, (32, 4)))
    weights = w * np.repeat(real(scales), 128, axis=1)
    result = columns(Variant.ALIGNED).matmul_int4(x, w, scales)
    magnitudes = np.abs(weights).reshape(32, 8, 64).sum(axis=-1)
    bound = ALIGNED_BOUND["int4"] * (blockwise_largest(x)[..., 0] @ magnitudes.T)
    bound += 8 * 2.0**-23 * (np.abs(real(x)) @ np.abs(weights).T)
    assert (np.abs(result - real(x) @ weights.T) <= bound).all()


@pytest.mark.parametrize("sigma", [0.0, 3.0])
def test_aligned_scores_are_bounded_against_float64(sigma):
    rng = np.random.default_rng(6)
    q, k = spread(rng, (2, 4, 128), sigma), spread(rng, (2, 40, 128), sigma)
    result = columns(Variant.ALIGNED).scores(q, k)
    exact = real(q) @ real(k).mT
    largest = np.einsum("htbo,hnbo->htn", blockwise_largest(q), blockwise_largest(k))
    bound = 64 * 2.1 * ALIGNED_BOUND["fp16"] * largest
    bound += 4 * 2.0**-24 * (np.abs(real(q)) @ np.abs(real(k)).mT)
    assert (np.abs(result - exact) <= bound).all()


def case_of_values(seed, tokens=70, dims=96):
    rng = np.random.default_rng(seed)
    p = fp16(2.0**15 * rng.random((2, 3, tokens)) ** 8)
    p[:, 1, tokens // 2 :] = 0
    p[:, 2, 0] = fp16(2.0**15)
    v = spread(rng, (2, tokens, dims), 2.0)
    exponents = columns(Variant.ALIGNED).value_exponents(v)
    return p, v, np.repeat(exponents.max(axis=1)[:, None], 3, axis=1)


def test_aligned_values_are_bounded_against_float64():
    p, v, reference = case_of_values(7)
    result = columns(Variant.ALIGNED).values(p, v, reference)
    exact = real(p) @ real(v)
    # Half a unit of p at the reference, half a unit of v at its own exponent, the last rounding.
    top = np.repeat(np.exp2(reference - 14.0), 64, axis=-1)[..., : v.shape[2]]
    bound = p.shape[2] * 0.26 * top + 2.0**-17 * real(p) @ np.abs(real(v)).max(
        axis=-1, keepdims=True
    )
    assert (np.abs(result - exact) <= bound + 2.0**-24 * np.abs(exact)).all()


def test_aligned_values_do_not_depend_on_the_order_of_tokens():
    p, v, reference = case_of_values(8)
    order = np.random.default_rng(9).permutation(p.shape[2])
    c = columns(Variant.ALIGNED)
    np.testing.assert_array_equal(
        c.values(p, v, reference), c.values(p[:, :, order], v[:, order], reference)
    )


def test_aligned_values_of_one_full_probability_are_the_value():
    _, v, _ = case_of_values(10)
    p = np.zeros((2, 3, 1), np.uint16)
    p[...] = fp16(2.0**15)
    c = columns(Variant.ALIGNED)
    result = c.values(p, v[:, :1], np.repeat(c.value_exponents(v[:, :1]), 3, axis=1))
    aligned = np.abs(blockwise_largest(np.pad(v[:, :1], ((0, 0), (0, 0), (0, 32)))))
    step = np.repeat(aligned[..., 0], 64, axis=-1)[..., :96] * 2.0**-17
    assert (np.abs(result - 2.0**15 * real(v[:, :1])) <= 2.0**15 * step).all()


def test_value_exponents_ignore_zeros_and_subnormals():
    v = np.zeros((1, 3, 70), np.uint16)
    v[0, 0, 3], v[0, 1, 69], v[0, 2, 0] = ONE, LARGEST, 0x03FF
    for variant in VARIANTS:
        assert columns(variant).value_exponents(v).tolist() == [[[15, 0], [0, 30], [0, 0]]]


@pytest.mark.parametrize("variant", VARIANTS)
def test_blocks_of_zeros_and_subnormals_give_positive_zero(variant):
    c = columns(variant)
    x = np.full((2, 64), 0x83FF, np.uint16)
    w = np.full((3, 64), -8, np.int8)
    out = c.matmul_int4(x, w, np.full((3, 1), ONE | 0x8000, np.uint16))
    assert out.view(np.uint32).tolist() == [[0] * 3] * 2
    scores = c.scores(x[None], x[None])
    assert scores.view(np.uint32).tolist() == [[[0, 0], [0, 0]]]


@pytest.mark.parametrize("variant", VARIANTS)
def test_cancelling_lanes_give_positive_zero(variant):
    q = np.full((1, 1, 64), LARGEST, np.uint16)
    k = np.full((1, 1, 64), LARGEST, np.uint16)
    k[..., ::2] |= 0x8000
    assert columns(variant).scores(q, k).view(np.uint32).tolist() == [[[0]]]
