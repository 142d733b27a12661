"""Columns of the overpacked variant: widths, truncation, and bounds against float64."""

import numpy as np
import pytest

from hwroute.config import Numerics, Variant
from hwroute.models.ops.columns import OverpackedColumns

LARGEST, SMALLEST = 0x7BFF, 0x0400


def real(bits):
    return np.where((bits & 0x7C00) != 0, bits, 0).astype(np.uint16).view(np.float16).astype(float)


def spread(rng, shape, sigma=3.0):
    """FP16 with outliers: a normal distribution times a log-normal one."""
    wide = rng.standard_normal(shape) * np.exp2(sigma * rng.standard_normal(shape))
    return np.clip(wide, -6e4, 6e4).astype(np.float16).view(np.uint16)


def test_overpacked_sums_stay_within_22_bits_at_the_corners():
    c = OverpackedColumns(Numerics(variant=Variant.OVERPACKED))
    x = np.full((2, 64), LARGEST, np.uint16)
    x[1] |= 0x8000
    sums, power = c.block_dot_fp16(x, x)
    assert sums.tolist() == [[64 * 32736, -64 * 32736], [-64 * 32736, 64 * 32736]]
    assert np.abs(sums).max() < 1 << 21
    assert set(power.ravel().tolist()) == {60 - 50 + 7}


def test_overpacked_products_of_zero_take_no_part_in_the_largest_exponent():
    c = OverpackedColumns(Numerics(variant=Variant.OVERPACKED))
    x, y = np.full((1, 64), SMALLEST, np.uint16), np.full((1, 64), SMALLEST, np.uint16)
    x[0, 0], y[0, 0] = LARGEST, 0
    sums, power = c.block_dot_fp16(x, y)
    assert (int(sums[0, 0]), int(power[0, 0])) == (63 * (1 << 13), 2 - 50 + 7)
    w = np.ones((1, 1, 64), np.int8)
    w[0, 0, 0] = 0
    sums, power = c.block_dot_int4(x[:, None], w)
    assert (int(sums[0, 0, 0]), int(power[0, 0, 0])) == (63 * 1024, 1 - 25)


@pytest.mark.parametrize("sigma", [0.0, 3.0])
def test_overpacked_scores_are_bounded_against_float64(sigma):
    rng = np.random.default_rng(11)
    q, k = spread(rng, (2, 4, 128), sigma), spread(rng, (2, 40, 128), sigma)
    result = OverpackedColumns(Numerics(variant=Variant.OVERPACKED)).scores(q, k)
    a, b = real(q).reshape(2, 4, 1, 2, 64), real(k).reshape(2, 1, 40, 2, 64)
    # Two truncations of less than a unit, a unit being 2**-13 of the largest product's power.
    bound = 64 * 2 * 2.0**-13 * np.abs(a * b).max(axis=-1).sum(axis=-1)
    bound += 4 * 2.0**-24 * np.abs(a * b).sum(axis=(-1, -2))
    assert (np.abs(result - real(q) @ real(k).mT) <= bound).all()


@pytest.mark.parametrize("sigma", [0.0, 3.0])
def test_overpacked_matmul_is_bounded_against_float64(sigma):
    rng = np.random.default_rng(12)
    x, w = spread(rng, (4, 256), sigma), rng.integers(-8, 8, (16, 256)).astype(np.int8)
    scales = rng.uniform(0.01, 0.1, (16, 2)).astype(np.float16).view(np.uint16)
    result = OverpackedColumns(Numerics(variant=Variant.OVERPACKED)).matmul_int4(x, w, scales)
    weights = w * np.repeat(real(scales), 128, axis=1)
    largest = np.abs(real(x)).reshape(4, 1, 4, 64) * np.abs(w).astype(bool).reshape(1, 16, 4, 64)
    scale = np.repeat(real(scales), 2, axis=1)
    bound = (64 * 2.0**-10 * largest.max(axis=-1) * scale).sum(axis=-1)
    bound += 8 * 2.0**-24 * (np.abs(real(x)) @ np.abs(weights).T)
    assert (np.abs(result - real(x) @ weights.T) <= bound).all()


def test_overpacked_values_accumulate_blocks_of_tokens_like_scores():
    rng = np.random.default_rng(13)
    c = OverpackedColumns(Numerics(variant=Variant.OVERPACKED))
    p = (2.0**15 * rng.random((2, 3, 130)) ** 8).astype(np.float16).view(np.uint16)
    v = spread(rng, (2, 130, 96), 2.0)
    reference = np.repeat(c.value_exponents(v).max(axis=1)[:, None], 3, axis=1)
    np.testing.assert_array_equal(c.values(p, v, reference), c.scores(p, v.swapaxes(1, 2)))
    exact = real(p) @ real(v)
    assert (np.abs(c.values(p, v, reference) - exact) <= 1e-2 * (real(p) @ np.abs(real(v)))).all()
