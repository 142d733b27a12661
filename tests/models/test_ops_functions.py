"""Elementary functions against float64, over every finite FP16 argument."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwroute.config import Rounding
from hwroute.functions import EXP2, LOG2_E, RECIPROCAL, RSQRT
from hwroute.models.ops.functions import (
    LARGEST_EXPONENT,
    evaluate,
    exp2_negative,
    probabilities,
    reciprocal,
    rsqrt,
    silu,
)
from hwroute.numerics import fp16_to_float64, fp32_to_fp16

EVERY = np.arange(1 << 16).astype(np.uint16)
FINITE = EVERY[EVERY & 0x7C00 != 0x7C00]
VALUES = fp16_to_float64(FINITE)
POSITIVE = VALUES[VALUES > 0]
EXP2_ERROR, RECIPROCAL_ERROR, RSQRT_ERROR = 2.0**-18.0, 2.0**-18.9, 2.0**-18.3


def relative(result: np.ndarray, exact: np.ndarray) -> float:
    return float((np.abs(result.astype(np.float64) - exact) / np.abs(exact)).max())


def fp16_ulps(bits: np.ndarray, exact: np.ndarray) -> np.ndarray:
    """Return the distance in units of the last place of normal FP16 at `exact`."""
    exponent = np.floor(np.log2(np.maximum(np.abs(exact), 2.0**-14)))
    return np.abs(fp16_to_float64(bits) - exact) / np.exp2(exponent - 10)


def test_exp2_of_every_argument_is_within_its_error() -> None:
    argument = np.arange(LARGEST_EXPONENT + 1)
    exact = np.exp2(-argument / 65536)
    result = exp2_negative(argument)
    assert result.dtype == np.float32
    assert relative(result, exact) <= EXP2_ERROR
    assert relative(result, exact) > EXP2_ERROR / 1.1


def test_exp2_is_exact_at_integers_within_half_the_bound_and_falls() -> None:
    result = exp2_negative(np.arange(LARGEST_EXPONENT + 1, dtype=np.int64))
    np.testing.assert_allclose(result[::65536], 2.0 ** -np.arange(101.0), rtol=EXP2_ERROR)
    # Never rises by more than its error: neighbours are 2**-16 * ln 2 apart.
    assert (np.diff(result.astype(np.float64)) <= result[1:] * 2 * EXP2_ERROR).all()


def test_exp2_is_cut_off() -> None:
    far = exp2_negative(np.array([LARGEST_EXPONENT, LARGEST_EXPONENT + 1, 1 << 40]))
    assert len(set(far.tolist())) == 1


@pytest.mark.parametrize(
    ("function", "exact", "bound"),
    [
        (reciprocal, lambda y: 1 / y, RECIPROCAL_ERROR),
        (rsqrt, lambda y: 1 / np.sqrt(y), RSQRT_ERROR),
    ],
)
def test_functions_of_every_positive_fp16_are_within_their_error(
    function: object, exact: object, bound: float
) -> None:
    assert callable(function)
    assert callable(exact)
    assert relative(function(POSITIVE.astype(np.float32)), exact(POSITIVE)) <= bound


@settings(derandomize=True, max_examples=200, deadline=None)
@given(st.integers(27 << 23, (227 << 23) - 1))
def test_functions_of_any_fp32_in_range_are_within_their_error(pattern: int) -> None:
    y = np.array([pattern], np.uint32).view(np.float32)
    wide = y.astype(np.float64)
    assert relative(reciprocal(y), 1 / wide) <= RECIPROCAL_ERROR
    assert relative(rsqrt(y), 1 / np.sqrt(wide)) <= RSQRT_ERROR


def test_evaluation_is_the_integer_formula() -> None:
    rng = np.random.default_rng(2)
    for table in (EXP2, RECIPROCAL, RSQRT):
        arguments = rng.integers(0, 1 << table.index_bits + table.delta_bits, 500)
        for argument, result in zip(
            arguments.tolist(), evaluate(table, arguments).tolist(), strict=True
        ):
            index, delta = divmod(argument, 1 << table.delta_bits)
            assert result == table.base[index] + (table.slope[index] * delta >> table.shift)


def test_silu_of_every_fp16_is_within_0_52_units_of_fp16() -> None:
    exact = VALUES / (1 + np.exp(-np.maximum(VALUES, -700)))
    bits, overflow = fp32_to_fp16(silu(FINITE), Rounding.NEAREST_EVEN)
    assert not overflow
    reached = np.abs(exact) >= 2.0**-14
    assert fp16_ulps(bits, exact)[reached].max() <= 0.52
    # What is below the smallest normal number flushes, or rounds up to it.
    assert set(np.unique(bits[~reached] & 0x7FFF).tolist()) <= {0, 0x0400}
    assert (np.abs(exact[~reached][bits[~reached] != 0]) > 2.0**-14 * (1 - 2.0**-10)).all()


def test_silu_before_rounding_is_within_its_relative_error() -> None:
    """exp2's argument carries the error of log2(e) times |x|, and 2**-17 of its own rounding."""
    near = np.abs(VALUES) <= 48
    x = VALUES[near]
    exact = x / (1 + np.exp(-x))
    argument = 2.0**-17 + np.abs(x) * abs(LOG2_E / 2**17 - np.log2(np.e))
    bound = np.log(2) * argument + EXP2_ERROR + RECIPROCAL_ERROR + 2.0**-22
    error = np.abs(silu(FINITE[near]).astype(np.float64) - exact)
    assert (error <= bound * np.abs(exact)).all()


def test_silu_of_zero_and_of_large_arguments() -> None:
    x = np.array([0, 0x8000, 0x7BFF, 0xFBFF], np.uint16)
    bits, _ = fp32_to_fp16(silu(x), Rounding.NEAREST_EVEN)
    assert bits.tolist() == [0, 0, 0x7BFF, 0]


def test_probabilities_of_every_score_are_within_0_52_units_of_fp16() -> None:
    for maximum in (0, 5, -17, 1000):
        scores = FINITE[maximum >= VALUES]
        exact = np.exp2(np.maximum(fp16_to_float64(scores) - maximum, -200)) * 2.0**15
        bits = probabilities(scores, np.int64(maximum))
        reached = exact >= 2.0**-14
        assert fp16_ulps(bits, exact)[reached].max() <= 0.52
        assert not bits[exact < 2.0**-14 * (1 - 2.0**-10)].any()


def test_the_largest_probability_is_2_to_the_15() -> None:
    scores = np.array([0x4200, 0x4201, 0x3C00], np.uint16)
    assert probabilities(scores[:1], np.int64(3)).tolist() == [0x7800]
    assert probabilities(scores, np.int64(4)).max() < 0x7800


@pytest.mark.parametrize("score", [0x7BFF, 0x6000, 0x4200])
def test_a_masked_score_above_the_maximum_does_no_harm(score: int) -> None:
    """A future key's score may exceed the maximum by more than FP32's exponents can hold."""
    bits = probabilities(np.array([score, 0xC000], np.uint16), np.int64(-2))
    assert bits.tolist() == [0x7800, 0x7800]
