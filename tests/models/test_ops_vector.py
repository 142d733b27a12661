"""Element-wise operators: within 0.52 units of FP16 of float64, saturation and flush included."""

import math

import numpy as np
import pytest

from hwroute.config import Rounding
from hwroute.models.ops import vector
from hwroute.models.ops.reduction import sum_of_squares
from hwroute.numerics import fp16_to_float64, fp32_to_fp16

NEAREST, TRUNCATE = Rounding.NEAREST_EVEN, Rounding.TOWARD_ZERO
LARGEST, SMALLEST, ONE = 0x7BFF, 0x0400, 0x3C00
EVERY = np.arange(1 << 16).astype(np.uint16)
FINITE = EVERY[EVERY & 0x7C00 != 0x7C00]


def half(values: np.ndarray) -> np.ndarray:
    return np.asarray(values, np.float16).view(np.uint16)


def normal(seed: int, shape: tuple[int, ...], sigma: float = 1.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    wide = rng.standard_normal(shape) * np.exp2(sigma * rng.standard_normal(shape))
    return half(np.clip(wide, -6e4, 6e4))


def units(exact: np.ndarray) -> np.ndarray:
    """Return the unit of the last place of FP16 at each value, that of 2**-14 below it."""
    exponent = np.floor(np.log2(np.maximum(np.abs(exact), 2.0**-14)))
    return np.exp2(exponent - 10)


def check(bits: np.ndarray, exact: np.ndarray, bound: float | np.ndarray = 0.52) -> None:
    """Check results within `bound` units where they are normal, and flushed where they are not."""
    reached = (np.abs(exact) >= 2.0**-14) & (np.abs(exact) < 65504)
    error = np.abs(fp16_to_float64(bits) - exact) / units(exact)
    assert (error <= bound)[reached].all()
    assert not (bits[np.abs(exact) < 2.0**-14 * (1 - 2.0**-9)]).any()
    assert reached.any()


def test_addition_is_correctly_rounded() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.choice(FINITE, 200_000), rng.choice(FINITE, 200_000)
    a, b = fp16_to_float64(x), fp16_to_float64(y)
    bits, overflow = vector.add(x, y, NEAREST)
    # A sum of two FP16 has at most 41 bits: float64 is exact, and FP32 rounds first.
    check(bits, a + b, 0.5 + 2.0**-13)
    assert overflow
    assert (np.abs(fp16_to_float64(bits)[np.abs(a + b) >= 65520]) == 65504).all()


def test_addition_at_its_corners() -> None:
    x = np.array([LARGEST, ONE, 0x8000, SMALLEST, 0x0401, 0x03FF], np.uint16)
    y = np.array([LARGEST, 0xBC00, 0x8000, 0x8401, 0x8400, ONE], np.uint16)
    bits, overflow = vector.add(x, y, NEAREST)
    assert bits.tolist() == [LARGEST, 0, 0, 0, 0, ONE]
    assert overflow
    assert not vector.add(x[1:], y[1:], NEAREST)[1]


@pytest.mark.parametrize("width", [64, 192, 1024])
@pytest.mark.parametrize("sigma", [0.0, 2.0])
def test_rmsnorm_is_within_0_52_units_of_float64(width: int, sigma: float) -> None:
    x, gain = normal(2, (50, width), sigma), normal(3, (width,), 0.3)
    bits, _ = vector.normalise(x, sum_of_squares(x), gain, 1e-5, NEAREST)
    wide = fp16_to_float64(x)
    mean = np.square(wide).mean(axis=1, keepdims=True)
    exact = wide / np.sqrt(mean + 1e-5) * fp16_to_float64(gain)
    check(bits, exact)


def test_rmsnorm_of_zeros_is_zero_and_epsilon_counts() -> None:
    gain = np.full(64, ONE, np.uint16)
    x = np.zeros((2, 64), np.uint16)
    bits, overflow = vector.normalise(x, sum_of_squares(x), gain, 1e-5, NEAREST)
    assert (bits.any(), overflow) == (False, False)
    x[0] = half(np.full(64, 2.0**-9))
    bits, _ = vector.normalise(x[:1], sum_of_squares(x[:1]), gain, 1e-5, NEAREST)
    check(bits, np.full((1, 64), 2.0**-9 / math.sqrt(2.0**-18 + 1e-5)))


def test_rmsnorm_saturates_and_says_so() -> None:
    x = np.zeros((1, 64), np.uint16)
    x[0, 5] = half(np.array(100.0))
    gain = np.full(64, LARGEST, np.uint16)
    bits, overflow = vector.normalise(x, sum_of_squares(x), gain, 1e-5, NEAREST)
    assert (int(bits[0, 5]), overflow) == (LARGEST, True)


def tables(positions: int, dim: int, scale: float) -> tuple[np.ndarray, np.ndarray]:
    angles = np.arange(positions)[:, None] * 10000.0 ** (-np.arange(0, dim, 2) / dim)
    return vector.rotary_tables(angles, scale)


@pytest.mark.parametrize("dim", [32, 64, 128])
@pytest.mark.parametrize("scale", [1.0, math.log2(math.e) / 8])
def test_rotation_is_bounded_against_float64(dim: int, scale: float) -> None:
    x = normal(4, (40, 3, dim))
    cosine, sine = tables(40, dim, scale)
    bits, _ = vector.rotate(x, cosine, sine, NEAREST)
    wide = fp16_to_float64(x)
    c, s = fp16_to_float64(cosine)[:, None], fp16_to_float64(sine)[:, None]
    a, b = wide[..., 0::2], wide[..., 1::2]
    exact = np.empty_like(wide)
    exact[..., 0::2], exact[..., 1::2] = a * c - b * s, b * c + a * s
    terms = np.empty_like(wide)
    terms[..., 0::2] = np.abs(a * c) + np.abs(b * s)
    terms[..., 1::2] = np.abs(b * c) + np.abs(a * s)
    # Products of FP16 are exact in FP32; the sum rounds once more: where terms cancel it shows.
    check(bits, exact, 0.5 + terms * 2.0**-24 / units(exact))


def test_rotation_by_nothing_and_by_a_right_angle() -> None:
    x = np.array([[[0x3C00, 0x4000]]], np.uint16)
    one, zero = np.array([[ONE]], np.uint16), np.array([[0]], np.uint16)
    assert vector.rotate(x, one, zero, NEAREST)[0].tolist() == [[[0x3C00, 0x4000]]]
    assert vector.rotate(x, zero, one, NEAREST)[0].tolist() == [[[0xC000, 0x3C00]]]


def test_rotation_saturates_and_says_so() -> None:
    x = np.full((1, 1, 2), LARGEST, np.uint16)
    diagonal = half(np.array([[math.sqrt(0.5)]]))
    bits, overflow = vector.rotate(x, diagonal, diagonal, NEAREST)
    assert (bits.tolist(), overflow) == ([[[0, LARGEST]]], True)


@pytest.mark.parametrize("scale", [1.0, math.log2(math.e) / math.sqrt(128)])
def test_rotary_tables_are_within_half_a_unit_of_float64(scale: float) -> None:
    angles = np.arange(2048)[:, None] * 10000.0 ** (-np.arange(0, 128, 2) / 128)
    cosine, sine = vector.rotary_tables(angles, scale)
    # FP32 comes between, which moves a value by 2**-13 units at most.
    check(cosine, np.cos(angles) * scale, 0.5 + 2.0**-13)
    check(sine, np.sin(angles) * scale, 0.5 + 2.0**-13)
    assert cosine[0].tolist() == half(np.full(64, scale)).tolist()
    assert not sine[0].any()


def test_swiglu_of_every_gate_is_within_0_52_units_of_float64() -> None:
    wide = fp16_to_float64(FINITE)
    sigmoid = 1 / (1 + np.exp(-np.maximum(wide, -700)))
    for up in (ONE, 0xBC01, 0x6BFF, 0x1001):
        factor = float(fp16_to_float64(np.array(up, np.uint16)))
        bits, _ = vector.swiglu(FINITE, np.full_like(FINITE, up), NEAREST)
        exact = wide * sigmoid * factor
        # log2(e) has 17 bits: at |x| = 32 its error is 2**-13.4 of the result.
        check(bits, exact, 0.5 + 0.02 + np.maximum(0, -wide - 12) * 2.0**-8)


def test_swiglu_saturates_and_says_so() -> None:
    x = np.array([[LARGEST, ONE]], np.uint16)
    bits, overflow = vector.swiglu(x, np.full((1, 2), 0x4000, np.uint16), NEAREST)
    assert (int(bits[0, 0]), overflow) == (LARGEST, True)
    assert not vector.swiglu(x[:, 1:], x[:, 1:], NEAREST)[1]


def test_division_is_within_0_52_units_of_float64() -> None:
    rng = np.random.default_rng(5)
    mixed = (rng.standard_normal((30, 64)) * np.exp2(rng.uniform(0, 25, (30, 1)))).astype(
        np.float32
    )
    total = np.exp2(rng.uniform(14, 30, 30)).astype(np.float32)
    bits, overflow = vector.divide(mixed, total, NEAREST)
    assert not overflow
    check(bits, mixed.astype(np.float64) / total.astype(np.float64)[:, None])


def test_division_by_a_power_of_two_gives_back_a_single_value() -> None:
    """A token that attends to itself alone reads its own value vector."""
    values = FINITE[fp16_to_float64(FINITE) != 0]
    mixed = (fp16_to_float64(values) * 2.0**15).astype(np.float32)
    bits, _ = vector.divide(mixed[None], np.float32([2.0**15]), NEAREST)
    np.testing.assert_array_equal(bits[0], values)


def test_truncation_never_grows_a_magnitude() -> None:
    x, y = normal(6, (20_000,)), normal(7, (20_000,))
    exact = fp16_to_float64(x) + fp16_to_float64(y)
    bits, _ = vector.add(x, y, TRUNCATE)
    result = fp16_to_float64(bits)
    assert (np.abs(result) <= np.abs(exact)).all()
    assert (np.abs(result - exact) < units(exact)).all()
    assert (bits != fp32_to_fp16(exact.astype(np.float32), NEAREST)[0]).any()
