"""Row reductions against float64, and their independence of order."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwroute.models.ops.reduction import (
    NO_MAXIMUM,
    accumulate,
    ceiling_of_maximum,
    dot_products,
    sum_of_probabilities,
    sum_of_squares,
)
from hwroute.numerics import fp16_to_float64

LARGEST, SMALLEST, ONE = 0x7BFF, 0x0400, 0x3C00
EVERY = np.arange(1 << 16).astype(np.uint16)
FINITE = EVERY[EVERY & 0x7C00 != 0x7C00]
WIDTHS = [64, 128, 1024]


def rows(seed: int, shape: tuple[int, ...], sigma: float) -> np.ndarray:
    """Return FP16 with outliers: normal times log-normal."""
    rng = np.random.default_rng(seed)
    wide = rng.standard_normal(shape) * np.exp2(sigma * rng.standard_normal(shape))
    return np.clip(wide, -6e4, 6e4).astype(np.float16).view(np.uint16)


def largest(x: np.ndarray) -> np.ndarray:
    """Return the largest power of two in each block of 64: [rows, blocks]."""
    magnitude = np.abs(fp16_to_float64(x)).reshape(len(x), -1, 64).max(axis=-1)
    return np.exp2(np.floor(np.log2(np.maximum(magnitude, 2.0**-15))))


@pytest.mark.parametrize("sigma", [0.0, 3.0])
@pytest.mark.parametrize("width", WIDTHS)
def test_sum_of_squares_is_bounded_against_float64(width: int, sigma: float) -> None:
    x = rows(1, (40, width), sigma)
    wide = fp16_to_float64(x)
    exact = np.square(wide).sum(axis=1)
    # Half a unit of the 17-bit operands, 2**-17 of a block's top power, and FP32's roundings.
    top = np.repeat(largest(x), 64, axis=1)
    bound = (2 * np.abs(wide) * top * 2.0**-17 + (top * 2.0**-17) ** 2).sum(axis=1)
    bound += (width // 64) * 2.0**-24 * exact * 1.01
    error = np.abs(sum_of_squares(x) - exact)
    assert (error <= bound).all()
    assert error.max() > 0


@pytest.mark.parametrize("width", WIDTHS)
def test_sum_of_squares_of_even_rows_is_within_2_to_the_minus_17(width: int) -> None:
    """What the norm sees of a residual without outliers."""
    x = rows(2, (40, width), 0.0)
    exact = np.square(fp16_to_float64(x)).sum(axis=1)
    assert (np.abs(sum_of_squares(x) / exact - 1) <= 2.0**-17).all()


@pytest.mark.parametrize("sigma", [0.0, 3.0])
@pytest.mark.parametrize("width", WIDTHS)
def test_router_logits_are_bounded_against_float64(width: int, sigma: float) -> None:
    x, w = rows(3, (20, width), sigma), rows(4, (2, width), sigma)
    a, b = fp16_to_float64(x), fp16_to_float64(w)
    ta, tb = (np.repeat(largest(part), 64, axis=1) for part in (x, w))
    unit = 2.0**-17
    bound = unit * (np.abs(a) @ tb.T + ta @ np.abs(b).T) + unit**2 * (ta @ tb.T)
    bound += (width // 64) * 2.0**-24 * (np.abs(a) @ np.abs(b).T) * 1.01
    assert (np.abs(dot_products(x, w) - a @ b.T) <= bound).all()


@pytest.mark.parametrize("bits", [LARGEST, LARGEST | 0x8000, SMALLEST, ONE])
def test_reductions_are_exact_at_the_corners(bits: int) -> None:
    """Equal lanes keep every bit: the exactness bound 64 * 2**17 * 2**17 is not passed."""
    x = np.full((2, 128), bits, np.uint16)
    value = float(fp16_to_float64(np.array(bits, np.uint16)))
    expected = np.float32(128 * value * value)
    assert sum_of_squares(x).tolist() == [expected] * 2
    assert dot_products(x, x).tolist() == [[expected] * 2] * 2


def test_rows_of_zeros_and_subnormals_give_positive_zero() -> None:
    x = np.full((1, 128), 0x83FF, np.uint16)
    assert sum_of_squares(x).view(np.uint32).tolist() == [0]
    assert dot_products(x, x).view(np.uint32).tolist() == [[0]]


def test_blocks_are_aligned_apart() -> None:
    """A large block does not cost its neighbours their bits."""
    x = np.full((1, 128), SMALLEST, np.uint16)
    x[0, :64] = ONE
    assert sum_of_squares(x)[0] == np.float32(64 + 64 * 2.0**-28)
    w = np.zeros((1, 128), np.uint16)
    w[0, 64:] = ONE
    assert dot_products(x, w)[0, 0] == np.float32(64 * 2.0**-14)


def test_rows_do_not_depend_on_each_other() -> None:
    x, w = rows(5, (9, 256), 3.0), rows(6, (2, 256), 1.0)
    for row in range(9):
        assert sum_of_squares(x)[row] == sum_of_squares(x[row : row + 1])[0]
        assert (dot_products(x, w)[row] == dot_products(x[row : row + 1], w)[0]).all()


def test_accumulation_is_in_order_and_rounds_after_each_addition() -> None:
    blocks = np.float32([[2.0**24, 1, 1, -(2.0**24)], [1, 1, 2.0**24, -(2.0**24)]])
    assert accumulate(blocks).tolist() == [0.0, 2.0]
    assert accumulate(blocks[:, :1]).tolist() == [2.0**24, 1.0]


def test_the_maximum_of_every_fp16_is_rounded_up() -> None:
    result = ceiling_of_maximum(FINITE[:, None], np.array([True]))
    assert result.tolist() == np.ceil(fp16_to_float64(FINITE)).astype(int).tolist()


def test_masked_scores_do_not_reach_the_maximum() -> None:
    scores = np.array([[[0x3C00, LARGEST, 0x3800]], [[0xC500, 0xC700, 0x7000]]], np.uint16)
    valid = np.array([[True, False, True]])
    assert ceiling_of_maximum(scores, valid).tolist() == [[1], [8192]]
    valid = np.array([[True, True, False]])
    assert ceiling_of_maximum(scores, valid).tolist() == [[65504], [-5]]
    assert ceiling_of_maximum(np.full((1, 1), LARGEST | 0x8000, np.uint16), True).tolist() == [
        -65504
    ]


def test_where_no_score_is_valid_the_maximum_is_below_every_score() -> None:
    scores = np.array([[LARGEST, ONE], [LARGEST | 0x8000, ONE]], np.uint16)
    valid = np.array([[False, False], [True, False]])
    assert ceiling_of_maximum(scores, valid).tolist() == [NO_MAXIMUM, -65504]
    assert np.ceil(fp16_to_float64(FINITE)).min() > NO_MAXIMUM


@settings(derandomize=True, max_examples=100, deadline=None)
@given(st.lists(st.integers(0, LARGEST), min_size=1, max_size=200))
def test_the_sum_of_probabilities_is_exact_and_rounded_once(p: list[int]) -> None:
    exact = sum(Fraction(float(value)) for value in fp16_to_float64(np.array(p, np.uint16)))
    result = sum_of_probabilities(np.array([p], np.uint16))
    units = int(exact * 2**24)
    assert units == exact * 2**24
    shift = max(0, units.bit_length() - 24)
    # round() of a Fraction is to nearest even.
    assert Fraction(float(result[0])) == round(Fraction(units, 2**shift)) * Fraction(2) ** (
        shift - 24
    )
    order = np.random.default_rng(len(p)).permutation(len(p))
    assert sum_of_probabilities(np.array([p], np.uint16)[:, order])[0] == result[0]


def test_maximum_and_sum_do_not_depend_on_the_order_of_entries() -> None:
    scores = rows(7, (4, 3, 700), 2.0)
    p = np.abs(rows(8, (4, 3, 700), 4.0).view(np.float16)).view(np.uint16)
    valid = np.random.default_rng(9).random((3, 700)) < 0.7
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(700)
        np.testing.assert_array_equal(
            ceiling_of_maximum(scores, valid),
            ceiling_of_maximum(scores[..., order], valid[..., order]),
        )
        np.testing.assert_array_equal(sum_of_probabilities(p), sum_of_probabilities(p[..., order]))
