"""IEEE binary32 arithmetic of the partial sums: pipelined addition and multiplication.

No subnormals, no infinities, no NaN: an exponent field of zero reads as +0, a result that would be
zero or below the normal range is +0, one above it saturates to the largest finite value. Everything
else is IEEE binary32, rounded to nearest even, as `hwroute.numerics` states.

Each unit moves one stage in a cycle in which ``en`` is set, so that it can sit inside a pipeline
that stalls as a whole; ``LATENCY`` enabled cycles after ``a`` and ``b`` their result is in ``o``.
"""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwroute.numerics import (
    FP16_BIAS,
    FP16_SIGNIFICAND_BITS,
    FP32_BIAS,
    FP32_SIGNIFICAND_BITS,
)
from hwroute.rtl.pipeline import delay, leading_zeros, register
from hwroute.timing import FLOAT_ADD_CYCLES, FLOAT_MULTIPLY_CYCLES

FRACTION_BITS = FP32_SIGNIFICAND_BITS - 1
FP32_LARGEST = 0x7F7FFFFF
GUARD_BITS = 2
"""Kept below the last place of the larger operand of an addition; a sticky bit comes below them."""


def significand_of(value: Value, fraction_bits: int) -> Value:
    """Return the significand of float bits, hidden bit included; 0 for an exponent field of 0."""
    fraction, exponent = value[:fraction_bits], value[fraction_bits:-1]
    normal = exponent.any()
    return Mux(normal, Cat(fraction, normal), 0)


def round_and_pack(sign: Value, exponent: Value, bits: Value, zero: Value) -> Value:
    """Return FP32 bits of a normalised magnitude, rounded to nearest even.

    Parameters
    ----------
    sign
        Of the value.
    exponent
        Biased, signed, for the leading one of `bits`.
    bits
        At least 26 bits, the highest one set unless the value is zero.
    zero
        The value is zero.
    """
    dropped = len(bits) - FP32_SIGNIFICAND_BITS
    fraction = bits[dropped : len(bits) - 1]
    up = bits[dropped - 1] & (bits[: dropped - 1].any() | fraction[0])
    # One addition: a carry out of the fraction goes on into the exponent and leaves fraction 0.
    rounded = Cat(fraction, exponent).as_signed() + up
    biased = rounded[FRACTION_BITS:].as_signed()
    magnitude = Mux(biased > 2 * FP32_BIAS, FP32_LARGEST, rounded[:31])
    return Mux(zero | (biased < 1), 0, Cat(magnitude, sign))


class FloatAdd(wiring.Component):
    """Add two FP32 values, rounding to nearest even. One addition a cycle.

    Stages: (1) order by magnitude, exponent difference; (2) shift the smaller one, sticky bit;
    (3) add or subtract, count leading zeros; (4) normalise; (5) round, range, pack.

    Members
    -------
    en
        Move one stage.
    a, b
        Operands.
    o
        a + b, `LATENCY` enabled cycles later.
    """

    LATENCY = FLOAT_ADD_CYCLES

    def __init__(self) -> None:
        super().__init__({"en": In(1), "a": In(32), "b": In(32), "o": Out(32)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        sign, exponent, big, small, distance, subtract = self._order(m)
        wide = Cat(Const(0, GUARD_BITS), small)
        limited = Mux(distance > len(wide), len(wide), distance)[:5]
        spread = Cat(Const(0, len(wide)), wide) >> limited
        aligned = Cat(spread[: len(wide)].any(), spread[len(wide) : 2 * len(wide)])
        aligned = register(m, self.en, aligned, "aligned")
        big = register(m, self.en, Cat(Const(0, GUARD_BITS + 1), big), "big_aligned")
        subtract = register(m, self.en, subtract, "subtract_aligned")
        exponent = delay(m, self.en, exponent, 2, "exponent")

        total = Signal(len(big) + 1)
        m.d.comb += total.eq(Mux(subtract, big - aligned, big + aligned))
        zeros = register(m, self.en, leading_zeros(total), "zeros")
        empty = delay(m, self.en, ~total.any(), 2, "empty")
        total = register(m, self.en, total, "total")

        normal = register(m, self.en, (total << zeros)[: len(total)], "normal")
        exponent = register(m, self.en, exponent - zeros, "exponent_normal")
        packed = round_and_pack(delay(m, self.en, sign, 3, "sign"), exponent, normal, empty)
        m.d.comb += self.o.eq(register(m, self.en, packed, "packed"))
        return m

    def _order(self, m: Module) -> tuple[Value, ...]:
        """Stage 1: return sign, exponent + 1, larger and smaller significand, distance, subtract.

        The exponent is that of a carry out of the sum.
        """
        swap = self.b[:31] > self.a[:31]
        large, small = Mux(swap, self.b, self.a), Mux(swap, self.a, self.b)
        exponent_a, exponent_b = self.a[FRACTION_BITS:31], self.b[FRACTION_BITS:31]
        distance = Mux(swap, exponent_b - exponent_a, exponent_a - exponent_b)[:8]
        return (
            register(m, self.en, large[31], "sign_ordered"),
            register(m, self.en, large[FRACTION_BITS:31] + 1, "exponent_ordered"),
            register(m, self.en, significand_of(large, FRACTION_BITS), "big"),
            register(m, self.en, significand_of(small, FRACTION_BITS), "small"),
            register(m, self.en, distance, "distance"),
            register(m, self.en, large[31] ^ small[31], "subtract"),
        )


class FloatMultiply(wiring.Component):
    """Multiply FP32 by FP32 or FP16, rounding to nearest even. One multiplication a cycle.

    Stages: (1) operands, exponent sum; (2, 3) product, two registers for the multiplier blocks to
    take in; (4) normalise by at most one place, round, range, pack.

    Parameters
    ----------
    half
        Operand b is FP16.

    Members
    -------
    en
        Move one stage.
    a, b
        Operands.
    o
        a * b, `LATENCY` enabled cycles later.
    """

    LATENCY = FLOAT_MULTIPLY_CYCLES

    def __init__(self, *, half: bool = False):
        self.half = half
        super().__init__(
            {"en": In(1), "a": In(32), "b": In(16 if half else 32), "o": Out(32)},
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        bits_b = FP16_SIGNIFICAND_BITS if self.half else FP32_SIGNIFICAND_BITS
        bias_b = FP16_BIAS if self.half else FP32_BIAS
        exponents = self.a[FRACTION_BITS:-1] + self.b[bits_b - 1 : -1]
        # One more than the product's exponent: that of its highest bit, if it is set.
        exponent = delay(m, self.en, exponents - (bias_b - 1), 3, "exponent")
        sign = delay(m, self.en, self.a[-1] ^ self.b[-1], 3, "sign")
        a = register(m, self.en, significand_of(self.a, FRACTION_BITS), "significand_a")
        b = register(m, self.en, significand_of(self.b, bits_b - 1), "significand_b")
        product = delay(m, self.en, a * b, 2, "product")

        carried = product[-1]
        normal = Mux(carried, product, (product << 1)[: len(product)])
        # Both significands are normalised or zero.
        zero = ~product[-2:].any()
        packed = round_and_pack(sign, exponent - ~carried, normal, zero)
        m.d.comb += self.o.eq(register(m, self.en, packed, "packed"))
        return m
