"""Conversions into and out of FP32, and its order; the formats are those of `float32`.

Like the arithmetic units these move one stage in a cycle in which ``en`` is set.
"""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwroute.config import Rounding
from hwroute.numerics import (
    FP16_BIAS,
    FP16_LARGEST,
    FP16_SIGNIFICAND_BITS,
    FP32_BIAS,
    FP32_SIGNIFICAND_BITS,
)
from hwroute.rtl.float32 import FRACTION_BITS, round_and_pack
from hwroute.rtl.pipeline import delay, leading_zeros, register
from hwroute.timing import FIXED_TO_FLOAT_CYCLES, FLOAT_COMPARE_CYCLES, FLOAT_TO_HALF_CYCLES


class FixedToFloat(wiring.Component):
    """Convert value * 2**exponent to FP32, the integer rounded to nearest even once. One a cycle.

    Stages: (1) magnitude; (2) count leading zeros; (3) normalise; (4) round, range, pack.

    Parameters
    ----------
    width
        Bits of the signed value, 2 to 64.
    exponent_bits
        Bits of the signed exponent.

    Members
    -------
    en
        Move one stage.
    value, exponent
        Signed operands.
    o
        FP32, `LATENCY` enabled cycles later.

    Raises
    ------
    ValueError
        The width is out of range.
    """

    LATENCY = FIXED_TO_FLOAT_CYCLES

    def __init__(self, width: int, *, exponent_bits: int = 9):
        if not 2 <= width <= 64:
            raise ValueError(f"Width must be from 2 to 64, not {width!r}")
        self.width = width
        self.exponent_bits = exponent_bits
        super().__init__(
            {
                "en": In(1),
                "value": In(signed(width)),
                "exponent": In(signed(exponent_bits)),
                "o": Out(32),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        negative = self.value[-1]
        magnitude = Mux(negative, -self.value, self.value)[: self.width]
        magnitude = register(m, self.en, magnitude, "magnitude")
        top = self.exponent + (FP32_BIAS + self.width - 1)
        exponent = delay(m, self.en, top, 2, "exponent")

        zeros = register(m, self.en, leading_zeros(magnitude), "zeros")
        empty = delay(m, self.en, ~magnitude.any(), 2, "empty")
        magnitude = register(m, self.en, magnitude, "magnitude_counted")

        # Rounding takes at least two bits below the significand.
        pad = Const(0, max(0, FP32_SIGNIFICAND_BITS + 2 - self.width))
        normal = Cat(pad, (magnitude << zeros)[: self.width])
        normal = register(m, self.en, normal, "normal")
        exponent = register(m, self.en, exponent - zeros, "exponent_normal")
        packed = round_and_pack(delay(m, self.en, negative, 3, "sign"), exponent, normal, empty)
        m.d.comb += self.o.eq(register(m, self.en, packed, "packed"))
        return m


class FloatToHalf(wiring.Component):
    """Convert FP32 to FP16 as `hwroute.numerics.fp32_to_fp16` does. One a cycle.

    Stages: (1) round to 11 bits, carry into the exponent; (2) saturate or flush.

    Parameters
    ----------
    rounding
        Nearest even or toward zero, from the numerics of the configuration.

    Members
    -------
    en
        Move one stage.
    a
        FP32.
    o, saturated
        FP16, and whether it is the largest value instead of a larger one, `LATENCY` enabled
        cycles later.
    """

    LATENCY = FLOAT_TO_HALF_CYCLES

    def __init__(self, rounding: Rounding):
        if not isinstance(rounding, Rounding):
            raise TypeError(f"Rounding must be a Rounding, not {rounding!r}")
        self.rounding = rounding
        super().__init__({"en": In(1), "a": In(32), "o": Out(16), "saturated": Out(1)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        kept = FP16_SIGNIFICAND_BITS - 1
        dropped = FRACTION_BITS - kept
        up: Any = 0
        if self.rounding is Rounding.NEAREST_EVEN:
            up = self.a[dropped - 1] & (self.a[: dropped - 1].any() | self.a[dropped])
        rebias = (FP32_BIAS - FP16_BIAS) << kept
        rounded = register(m, self.en, self.a[dropped:31] + up - rebias, "rounded")
        sign = register(m, self.en, self.a[31], "sign")

        exponent = rounded[kept:].as_signed()
        saturated = exponent > 2 * FP16_BIAS
        magnitude = Mux(saturated, FP16_LARGEST, rounded[:15])
        half = Mux(exponent < 1, 0, Cat(magnitude, sign))
        m.d.comb += [
            self.o.eq(register(m, self.en, half, "half")),
            self.saturated.eq(register(m, self.en, saturated, "saturation")),
        ]
        return m


class FloatCompare(wiring.Component):
    """Compare two FP32 values at full width. One comparison a cycle.

    Members
    -------
    en
        Move one stage.
    a, b
        Operands.
    greater, equal
        Whether a > b and a = b, `LATENCY` enabled cycles later.
    """

    LATENCY = FLOAT_COMPARE_CYCLES

    def __init__(self) -> None:
        super().__init__(
            {"en": In(1), "a": In(32), "b": In(32), "greater": Out(1), "equal": Out(1)}
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        greater = is_greater(self.a, self.b)
        m.d.comb += [
            self.greater.eq(register(m, self.en, greater, "is_greater")),
            self.equal.eq(register(m, self.en, self.a == self.b, "is_equal")),
        ]
        return m


def is_greater(a: Value, b: Value) -> Value:
    """Return whether float a > b, for two patterns of one format in which zero is +0 only."""
    larger = a[:-1] > b[:-1]
    smaller = a[:-1] < b[:-1]
    return Mux(a[-1], b[-1] & smaller, b[-1] | larger)


def half_to_float(half: Value) -> Value:
    """Return the FP32 pattern of an FP16 pattern, exactly; subnormals and -0 read as +0."""
    kept = FP16_SIGNIFICAND_BITS - 1
    exponent = half[kept:15]
    rebiased = (exponent + (FP32_BIAS - FP16_BIAS))[:8]
    bits = Cat(Const(0, FRACTION_BITS - kept), half[:kept], rebiased, half[15])
    return Mux(exponent.any(), bits, 0)
