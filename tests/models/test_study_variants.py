"""The designs that the study compares are what they say, bit for bit."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from hwroute.column_format import LANES
from hwroute.config import Numerics, Rounding
from hwroute.models.ops.columns import AlignedColumns, OverpackedColumns
from hwroute.models.study import dots as data
from hwroute.models.study.dots import Dots, Format
from hwroute.models.study.variants import VARIANTS, Operands, round_to_fp16
from hwroute.numerics import FP16_BIAS, decode_fp16, fp16_to_float64, fp32_to_fp16

BY_KEY = {variant.key: variant for variant in VARIANTS}
FORMATS = list(Format)


def outliers(format_: Format, n: int = 200, seed: int = 1) -> Dots:
    return data.outliers(format_, np.random.default_rng(seed), n)


def result_of(key: str, dots: Dots) -> np.ndarray[Any, np.dtype[np.float64]]:
    return BY_KEY[key].compute(Operands(dots))


def exact_of(dots: Dots, row: int) -> list[Fraction]:
    """Return the 64 products of a row as rational numbers."""
    y = fp16_to_float64(dots.y) if dots.format is Format.FP16 else dots.y
    x = fp16_to_float64(dots.x)
    return [Fraction(float(a)) * Fraction(float(b)) for a, b in zip(x[row], y[row], strict=True)]


def truncated(value: Fraction, unit: Fraction) -> Fraction:
    return int(value / unit) * unit


def exponent_of(value: Fraction) -> int:
    """Return e with 2**e <= |value| < 2**(e + 1)."""
    return int(np.frexp(float(abs(value)))[1]) - 1


@pytest.mark.parametrize(
    ("key", "kind"), [("aligned", AlignedColumns), ("tree-15", OverpackedColumns)]
)
def test_machine_variants_equal_the_golden_columns_in_fp16(key: str, kind: type) -> None:
    dots = outliers(Format.FP16)
    columns = kind(Numerics(variant=kind.variant))
    sums, power = columns.block_dot_fp16(dots.x, dots.y)
    golden = np.ldexp(sums.diagonal().astype(np.float64), power.diagonal())
    np.testing.assert_array_equal(result_of(key, dots), golden)


@pytest.mark.parametrize(
    ("key", "kind"), [("aligned", AlignedColumns), ("tree-15", OverpackedColumns)]
)
def test_machine_variants_equal_the_golden_columns_in_int4(key: str, kind: type) -> None:
    dots = outliers(Format.INT4)
    columns = kind(Numerics(variant=kind.variant))
    sums, power = columns.block_dot_int4(dots.x[:, None], dots.y[:, None])
    wide = np.broadcast_to(power, sums.shape)[..., 0].diagonal()
    golden = np.ldexp(sums[..., 0].diagonal().astype(np.float64), wide)
    np.testing.assert_array_equal(result_of(key, dots), golden)


@pytest.mark.parametrize("format_", FORMATS)
def test_variant_1_truncates_each_product_22_bits_below_the_largest_exponent(
    format_: Format,
) -> None:
    dots = outliers(format_, 20)
    results = result_of("tree-22", dots)
    for row, result in enumerate(results):
        products = exact_of(dots, row)
        # Exponents are added, or taken from the activation alone: no product is normalised.
        exponents = decode_fp16(dots.x[row])[1] - FP16_BIAS
        if format_ is Format.FP16:
            exponents = exponents + decode_fp16(dots.y[row])[1] - FP16_BIAS
        largest = max(int(e) for e, p in zip(exponents, products, strict=True) if p)
        unit = Fraction(2) ** (largest - (20 if format_ is Format.FP16 else 17))
        assert Fraction(float(result)) == sum(truncated(p, unit) for p in products)


def test_cascaded_macs_are_ieee_half_precision_steps() -> None:
    dots = outliers(Format.FP16, 50)
    x, y = dots.x.view(np.float16) / np.float16(8), dots.y.view(np.float16) / np.float16(8)
    # Both factors and every sum stay far from the ends of the format.
    scaled = Dots(format=Format.FP16, x=x.view(np.uint16), y=y.view(np.uint16))
    small = (np.abs(x) < 2.0**-5) | (np.abs(y) < 2.0**-5)
    scaled.x[small] = 0
    total = np.zeros(50, np.float16)
    for lane in range(LANES):
        total = total + scaled.x.view(np.float16)[:, lane] * y[:, lane]
    np.testing.assert_array_equal(result_of("cascaded-macs", scaled), np.asarray(total, np.float64))


@pytest.mark.parametrize("format_", FORMATS)
def test_cascaded_overpacked_dsps_round_every_sum_of_truncated_products(format_: Format) -> None:
    dots = outliers(format_, 20, seed=2)
    results = result_of("cascaded-overpacked", dots)
    for row, result in enumerate(results):
        total = Fraction(0)
        for lane, product in enumerate(exact_of(dots, row)):
            if format_ is Format.FP16 and product:
                exponent = sum(int(decode_fp16(o[row, lane])[1]) for o in (dots.x, dots.y))
                product = truncated(product, Fraction(2) ** (exponent - 50 + 7))
            total += product
            if total:
                unit = Fraction(2) ** (exponent_of(total) - 10)
                total = round(total / unit) * unit
        assert Fraction(float(result)) == total


def test_cascaded_overpacked_dsps_make_ties_of_what_they_truncate() -> None:
    """Products just above a tie whose even neighbour is below: 15 bits show the tie alone."""
    u, w = np.meshgrid(np.arange(1024, 2048), np.arange(1024, 2048, 7))
    product = u * w
    above = (product >> 21 == 1) & (product >> 7 & 0x1F == 0b01000) & (product & 0x7F > 0)
    u, w, product = u[above][:500], w[above][:500], product[above][:500]
    x, y = np.zeros((500, LANES), np.uint16), np.zeros((500, LANES), np.uint16)
    x[:, 5] = u.astype(np.float16).view(np.uint16)
    y[:, 5] = w.astype(np.float16).view(np.uint16)
    dots = Dots(format=Format.FP16, x=x, y=y)
    np.testing.assert_array_equal(result_of("cascaded-overpacked", dots), product >> 11 << 11)
    np.testing.assert_array_equal(result_of("cascaded-macs", dots), (product >> 11) + 1 << 11)


@pytest.mark.parametrize(
    ("key", "format_", "x_bits", "y_bits"),
    [
        ("aligned", Format.INT4, 14, 4),
        ("aligned-one-cascade", Format.INT4, 12, 4),
        ("aligned", Format.FP16, 17, 17),
        ("aligned-24-kv", Format.FP16, 17, 23),
        ("aligned-24-qp", Format.FP16, 23, 17),
    ],
)
def test_aligned_variants_round_operands_to_the_bits_they_name(
    key: str, format_: Format, x_bits: int, y_bits: int
) -> None:
    dots = outliers(format_, 20, seed=3)
    for row, result in enumerate(result_of(key, dots)):
        sides = []
        for bits, operand in ((x_bits, dots.x[row]), (y_bits, dots.y[row])):
            if operand.dtype == np.int8:
                sides.append([Fraction(int(w)) for w in operand])
                continue
            real = [Fraction(float(v)) for v in fp16_to_float64(operand)]
            unit = Fraction(2) ** (exponent_of(max(real, key=abs)) + 1 - bits)
            integers = [round(v / unit) for v in real]
            assert max(map(abs, integers)) < 1 << bits
            sides.append([unit * i for i in integers])
        expected = sum(a * b for a, b in zip(*sides, strict=True))
        assert Fraction(float(result)) == expected


@pytest.mark.parametrize("format_", FORMATS)
def test_every_variant_is_exact_where_nothing_needs_rounding(format_: Format) -> None:
    rng = np.random.default_rng(4)
    small = rng.integers(-3, 4, (100, LANES))
    x = rng.integers(-2, 3, (100, LANES)).astype(np.float16).view(np.uint16)
    y = small.astype(np.int8)
    if format_ is Format.FP16:
        y = small.astype(np.float16).view(np.uint16)
    dots = Dots(format=format_, x=x, y=y)
    for variant in VARIANTS:
        if format_ in variant.formats:
            np.testing.assert_array_equal(
                variant.compute(Operands(dots)), Operands(dots).exact, err_msg=variant.key
            )


@pytest.mark.parametrize("format_", FORMATS)
def test_every_variant_gives_zero_for_zeros(format_: Format) -> None:
    zeros = outliers(format_, 3)
    zeros.x[...] = 0
    for variant in VARIANTS:
        if format_ in variant.formats:
            assert variant.compute(Operands(zeros)).tolist() == [0.0] * 3


@pytest.mark.parametrize("rounding", list(Rounding))
def test_the_final_rounding_is_the_machines_where_fp16_has_the_range(rounding: Rounding) -> None:
    rng = np.random.default_rng(5)
    values = (rng.uniform(1, 2, 10_000) * np.exp2(rng.integers(-13, 15, 10_000))).astype(np.float32)
    values[::2] *= -1
    # Ties to both sides, both signs.
    values[:4] = np.array([2049, 2051, -2049, -2051], np.float32)
    bits, _ = fp32_to_fp16(values, rounding)
    np.testing.assert_array_equal(
        round_to_fp16(values.astype(np.float64), rounding), fp16_to_float64(bits)
    )


def test_operands_of_a_wrong_shape_or_type_are_refused() -> None:
    x = np.zeros((2, LANES), np.uint16)
    with pytest.raises(ValueError, match=r"Operand y must be of shape \(n, 64\), not \(2, 32\)"):
        Dots(format=Format.FP16, x=x, y=x[:, :32])
    with pytest.raises(TypeError, match="Operand y must be int8, not uint16"):
        Dots(format=Format.INT4, x=x, y=x)
