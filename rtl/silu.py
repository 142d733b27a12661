"""The factors of silu(x) = x / (1 + 2**-(|x| log2(e))), times that power where x < 0."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwroute.functions import EXPONENT_FRACTION_BITS, LOG2_E, LOG2_E_BITS
from hwroute.numerics import (
    FP16_BIAS,
    FP16_SIGNIFICAND_BITS,
    FP32_BIAS,
    FP32_SIGNIFICAND_BITS,
)
from hwroute.rtl.exp2 import Exp2Negative
from hwroute.rtl.float32 import FRACTION_BITS, significand_of
from hwroute.rtl.pipeline import delay, register
from hwroute.rtl.reciprocal import Reciprocal
from hwroute.timing import SILU_FACTORS_CYCLES

FLOAT_ONE = FP32_BIAS << FRACTION_BITS
"""1.0 as FP32."""
ARGUMENT_BITS = 33
"""Largest |x| log2(e) in units of 2**-16: 65504 * 1.4427 < 2**17."""
DROPPED_BITS = FP16_BIAS + FP16_SIGNIFICAND_BITS - 1 + LOG2_E_BITS - EXPONENT_FRACTION_BITS
"""Below a unit of 2**-16 in significand * LOG2_E * 2**exponent."""


class SiluFactors(wiring.Component):
    """Return what multiplies x to make silu(x), as `hwroute.models.ops.functions.silu` has it.

    With E = 2**-(|x| log2(e)) silu(x) is x * (1 / (1 + E)) * (E where x < 0, else 1), the products
    rounded in this order. One x a cycle. Stages: (1) significand times log2(e); (2) shift by the
    exponent; (3) round to 2**-16; E; (4) shift it to the place of 1; (5) round, add; reciprocal.

    Members
    -------
    en
        Move one stage.
    x
        FP16.
    reciprocal, power
        1 / (1 + E), and E or 1, both FP32, `LATENCY` enabled cycles later.
    """

    LATENCY = SILU_FACTORS_CYCLES

    def __init__(self) -> None:
        super().__init__({"en": In(1), "x": In(16), "reciprocal": Out(32), "power": Out(32)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.exp2 = exp2 = Exp2Negative(ARGUMENT_BITS)
        m.submodules.divide = divide = Reciprocal()
        kept = FP16_SIGNIFICAND_BITS - 1
        product = register(m, self.en, significand_of(self.x, kept) * LOG2_E, "product")
        exponent = register(m, self.en, self.x[kept:15], "exponent")
        shifted = register(m, self.en, product << exponent, "shifted")
        argument = register(m, self.en, _round(shifted, DROPPED_BITS), "argument")

        m.d.comb += [
            exp2.en.eq(self.en),
            exp2.argument.eq(argument),
            divide.en.eq(self.en),
            divide.a.eq(self._plus_one(m, exp2.o)),
            self.reciprocal.eq(divide.o),
        ]
        power = delay(m, self.en, exp2.o, 2 + divide.LATENCY, "power")
        negative = delay(m, self.en, self.x[15], self.LATENCY, "negative")
        m.d.comb += self.power.eq(Mux(negative, power, FLOAT_ONE))
        return m

    def _plus_one(self, m: Module, power: Value) -> Value:
        """Stages 4 and 5: return 1 + E in FP32, rounded to nearest even, for E in (0, 1]."""
        # E in units of 2**-23; below 2**-24 it is less than half of one.
        most = FP32_SIGNIFICAND_BITS + 1
        distance = FP32_BIAS - power[FRACTION_BITS:31]
        limited = Mux(distance > most, most, distance)[:5]
        wide = Cat(Const(0, most), significand_of(power, FRACTION_BITS)) >> limited
        places = _round(register(m, self.en, wide, "places"), most)
        # 1 is 2**23 units: the sum's highest bit is that of 2, and its fraction is that of E.
        two = places[FRACTION_BITS]
        total = Cat(places[:FRACTION_BITS], (FP32_BIAS + two)[:8], Const(0, 1))
        return register(m, self.en, total, "total")


def _round(value: Value, dropped: int) -> Value:
    """Return `value` without its `dropped` low bits, rounded to nearest even."""
    up = value[dropped - 1] & (value[: dropped - 1].any() | value[dropped])
    return value[dropped:] + up
