"""Formats and roundings against plain Python integers."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwroute.config import Rounding
from hwroute.numerics import (
    FP16_LARGEST,
    align_block,
    align_to,
    decode_fp16,
    fixed_to_fp32,
    flush_fp16,
    fp16_to_float64,
    fp16_to_fp32,
    fp16_to_int,
    fp32_to_fp16,
    round_shift,
)

EVERY = np.arange(1 << 16).astype(np.uint16)
FINITE = EVERY[EVERY & 0x7C00 != 0x7C00]
NORMAL = FINITE[FINITE & 0x7C00 != 0]
MODES = list(Rounding)
NEAREST, TRUNCATE = Rounding.NEAREST_EVEN, Rounding.TOWARD_ZERO


def nearest_even(numerator: int, shift: int) -> int:
    """Return numerator / 2**shift >= 0 rounded to nearest even, with integers alone."""
    if shift <= 0:
        return numerator << -shift
    kept, rest = numerator >> shift, numerator & ((1 << shift) - 1)
    half = 1 << (shift - 1)
    return kept + (rest > half or (rest == half and kept % 2 == 1))


def exact(bits: int) -> Fraction:
    """Return the value of an FP16 pattern; zero and subnormals are zero."""
    exponent = bits >> 10 & 31
    if exponent == 0:
        return Fraction(0)
    magnitude = (1024 + (bits & 1023)) * Fraction(2) ** (exponent - 25)
    return -magnitude if bits >> 15 else magnitude


def halved(pattern: int, mode: Rounding) -> tuple[int, bool]:
    """Return FP16 pattern and saturation of an FP32 pattern, with integers alone."""
    sign, exponent, fraction = pattern >> 31, pattern >> 23 & 255, pattern & 0x7FFFFF
    if exponent == 0:
        return 0, False  # far below 2**-14
    significand = fraction + (1 << 23)
    kept = significand >> 13 if mode is TRUNCATE else nearest_even(significand, 13)
    biased = exponent - 127 + 15
    if kept == 2048:
        kept, biased = 1024, biased + 1
    if biased < 1:
        return 0, False
    if biased > 30:
        return sign << 15 | FP16_LARGEST, True
    return sign << 15 | biased << 10 | (kept - 1024), False


def convert(patterns: list[int], mode: Rounding) -> tuple[list[int], bool]:
    bits, overflow = fp32_to_fp16(np.array(patterns, np.uint32).view(np.float32), mode)
    assert bits.dtype == np.uint16
    return bits.tolist(), overflow


def test_every_pattern_decodes_to_its_value() -> None:
    negative, exponent, significand = decode_fp16(FINITE)
    wide, single = fp16_to_float64(FINITE), fp16_to_fp32(FINITE)
    for index, bits in enumerate(FINITE.tolist()):
        value = exact(bits)
        scaled = int(significand[index]) * Fraction(2) ** (int(exponent[index]) - 25)
        assert (-scaled if negative[index] else scaled) == value
        assert Fraction(float(wide[index])) == value == Fraction(float(single[index]))


def test_zeros_and_subnormals_read_as_positive_zero() -> None:
    tiny = EVERY[EVERY & 0x7C00 == 0]
    assert not any(part.any() for part in decode_fp16(tiny))
    assert not fp16_to_fp32(tiny).view(np.uint32).any()
    assert not fp16_to_float64(tiny).view(np.uint64).any()
    assert not flush_fp16(tiny).any()
    np.testing.assert_array_equal(flush_fp16(NORMAL), NORMAL)


@pytest.mark.parametrize("mode", MODES)
def test_every_fp16_survives_the_trip_through_fp32(mode: Rounding) -> None:
    bits, overflow = fp32_to_fp16(fp16_to_fp32(FINITE), mode)
    np.testing.assert_array_equal(bits, flush_fp16(FINITE))
    assert not overflow


@pytest.mark.parametrize("mode", MODES)
def test_every_midpoint_and_its_neighbours_round_as_integers_say(mode: Rounding) -> None:
    """All ties of FP16, one FP32 step below and above each, both signs, flush and saturation."""
    patterns = []
    # From the octave below the smallest normal number to the octave above the largest.
    for top in range((112 << 23 - 13) - 1024, (144 << 23 - 13)):
        middle = (top << 13) + (1 << 12)
        patterns += [middle - 1, middle, middle + 1, (middle | 1 << 31)]
    bits, overflow = convert(patterns, mode)
    expected = [halved(pattern, mode) for pattern in patterns]
    assert bits == [pair[0] for pair in expected]
    assert overflow


@pytest.mark.parametrize(
    ("mode", "value", "expected", "saturates"),
    [
        (NEAREST, 2**-14 - 2**-26, 0x0400, False),
        (NEAREST, np.nextafter(np.float32(2**-14 - 2**-26), np.float32(0)), 0, False),
        (TRUNCATE, np.nextafter(np.float32(2**-14), np.float32(0)), 0, False),
        (TRUNCATE, 2**-14, 0x0400, False),
        (NEAREST, -(2**-15), 0, False),
        (NEAREST, -0.0, 0, False),
        (TRUNCATE, -0.0, 0, False),
        (NEAREST, np.nextafter(np.float32(65520), np.float32(0)), 0x7BFF, False),
        (NEAREST, 65520.0, 0x7BFF, True),
        (NEAREST, -65520.0, 0xFBFF, True),
        (TRUNCATE, np.nextafter(np.float32(65536), np.float32(0)), 0x7BFF, False),
        (TRUNCATE, -65536.0, 0xFBFF, True),
        (NEAREST, 1e38, 0x7BFF, True),
        (NEAREST, 1 + 2**-11, 0x3C00, False),
        (NEAREST, 1 + 3 * 2**-11, 0x3C02, False),
        (TRUNCATE, -(1 + 2047 * 2**-11), 0xBFFF, False),
    ],
)
def test_corners_of_the_conversion_to_fp16(
    mode: Rounding, value: float, expected: int, saturates: bool
) -> None:
    bits, overflow = fp32_to_fp16(np.array([1.0, value], np.float32), mode)
    assert (bits.tolist(), overflow) == ([0x3C00, expected], saturates)


@settings(derandomize=True, max_examples=300, deadline=None)
@given(st.lists(st.integers(0, (1 << 32) - 1), min_size=1), st.sampled_from(MODES))
def test_any_fp32_rounds_as_integers_say(patterns: list[int], mode: Rounding) -> None:
    finite = [pattern for pattern in patterns if pattern >> 23 & 255 != 255] or [0]
    expected = [halved(pattern, mode) for pattern in finite]
    assert convert(finite, mode) == ([bits for bits, _ in expected], any(f for _, f in expected))


def test_rounded_fp32_is_within_half_a_unit_of_float64() -> None:
    rng = np.random.default_rng(1)
    values = np.exp2(rng.uniform(-14, 15.9, 20_000)).astype(np.float32)
    error = np.abs(fp16_to_float64(fp32_to_fp16(values, NEAREST)[0]) - values)
    unit = np.exp2(np.floor(np.log2(values.astype(np.float64))) - 10)
    assert (error <= unit / 2).all()
    error = values - fp16_to_float64(fp32_to_fp16(values, TRUNCATE)[0])
    assert ((error >= 0) & (error < unit)).all()


@settings(derandomize=True, max_examples=300, deadline=None)
@given(st.integers(0, (1 << 62) - 1), st.integers(0, 62))
def test_round_shift_rounds_as_integers_say(magnitude: int, shift: int) -> None:
    value = np.array([magnitude])
    assert round_shift(value, shift, NEAREST).tolist() == [nearest_even(magnitude, shift)]
    assert round_shift(value, np.array([shift]), TRUNCATE).tolist() == [magnitude >> shift]


def test_round_shift_at_its_ties() -> None:
    magnitudes = np.array([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
    assert round_shift(magnitudes, 2, NEAREST).tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 2, 2]
    assert round_shift(magnitudes, 0, NEAREST).tolist() == magnitudes.tolist()


@pytest.mark.parametrize("fraction_bits", [0, 16, 24])
def test_every_fp16_becomes_the_nearest_integer(fraction_bits: int) -> None:
    result = fp16_to_int(FINITE, fraction_bits).tolist()
    # round() of a Fraction is to nearest even.
    assert result == [round(exact(bits) * 2**fraction_bits) for bits in FINITE.tolist()]


@pytest.mark.parametrize("magnitude_bits", [14, 17])
def test_every_fp16_aligns_as_integers_say(magnitude_bits: int) -> None:
    """At each distance from the reference; the fit of the largest significands is strict."""
    for reference in (30, 24, 15, 3, 1):
        usable = NORMAL[reference >= (NORMAL >> 10 & 31)]
        aligned = align_to(usable, np.int64(reference), magnitude_bits)
        assert np.abs(aligned).max() < 1 << magnitude_bits
        for bits, value in zip(usable.tolist(), aligned.tolist(), strict=True):
            distance = reference - (bits >> 10 & 31)
            expected = nearest_even((1024 + (bits & 1023)) << (magnitude_bits - 11), distance)
            assert value == (-expected if bits >> 15 else expected)


def test_a_block_aligns_to_its_largest_exponent_without_zeros() -> None:
    block = np.array([[0x0400, 0x8400, 0, 0x03FF], [0x3C00, 0x7BFF, 0x8001, 0xFBFF]], np.uint16)
    aligned, exponent = align_block(block, 14)
    assert exponent.tolist() == [1, 30]
    assert aligned.tolist() == [[8192, -8192, 0, 0], [0, 16376, 0, -16376]]
    aligned, exponent = align_block(np.zeros((3, 64), np.uint16), 17)
    assert not aligned.any()
    assert exponent.tolist() == [0, 0, 0]


fp16_blocks = st.lists(st.sampled_from(FINITE.tolist()), min_size=1, max_size=64)


@settings(derandomize=True, max_examples=200, deadline=None)
@given(fp16_blocks, st.sampled_from([14, 17]))
def test_an_aligned_block_is_within_half_a_unit(block: list[int], magnitude_bits: int) -> None:
    aligned, exponent = align_block(np.array(block, np.uint16), magnitude_bits)
    assert int(exponent) == max((bits >> 10 & 31) for bits in block)
    unit = Fraction(2) ** (int(exponent) - 14 - magnitude_bits)
    for bits, value in zip(block, aligned.tolist(), strict=True):
        assert abs(value * unit - exact(bits)) <= unit / 2
        assert abs(value) < 1 << magnitude_bits


def fp32_of(value: int) -> Fraction:
    """Return an integer rounded to 24 significant bits, ties to even."""
    magnitude = abs(value)
    shift = max(0, magnitude.bit_length() - 24)
    rounded = Fraction(nearest_even(magnitude, shift)) * 2**shift
    return -rounded if value < 0 else rounded


@settings(derandomize=True, max_examples=300, deadline=None)
@given(st.integers(-(1 << 58), 1 << 58), st.integers(-60, 40))
def test_fixed_point_becomes_the_nearest_fp32(value: int, exponent: int) -> None:
    result = fixed_to_fp32(np.array([value]), np.array([exponent]))
    assert result.dtype == np.float32
    assert Fraction(float(result[0])) == fp32_of(value) * Fraction(2) ** exponent


@pytest.mark.parametrize("value", [(1 << 24) + 1, (1 << 24) + 3, (1 << 41) + (1 << 17), 0, 1])
def test_fixed_point_ties_go_to_even(value: int) -> None:
    result = fixed_to_fp32(np.array([value, -value]), np.array([0, 0]))
    assert [Fraction(float(part)) for part in result] == [fp32_of(value), fp32_of(-value)]
    # Zero is +0 whatever led to it.
    assert np.signbit(result).tolist() == [False, value != 0]
