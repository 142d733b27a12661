"""Powers of two from a piecewise linear table, and the unnormalised probabilities made of them.

The tables and their contract are in `hwroute.functions`. All units move one stage in a cycle in
which ``en`` is set.
"""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, signed, unsigned
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from hwroute.config import Rounding
from hwroute.functions import EXP2, EXPONENT_FRACTION_BITS, Segments
from hwroute.numerics import (
    FP16_SIGNIFICAND_BITS,
    FP32_BIAS,
    FP32_SIGNIFICAND_BITS,
    PROBABILITY_EXPONENT,
)
from hwroute.rtl.float32 import FRACTION_BITS, significand_of
from hwroute.rtl.float_convert import FloatToHalf
from hwroute.rtl.pipeline import delay, register
from hwroute.timing import EXP2_CYCLES, PROBABILITY_CYCLES, SEGMENT_CYCLES

UNITS_POINT = 24
"""An FP16 is an integer in units of 2**-24, at most 41 bits long."""
SLOPE_BITS = 18
LARGEST_EXPONENT = 100
"""2**-t is cut off at this t."""


class SegmentFunction(wiring.Component):
    """Evaluate a table of `hwroute.functions`. One argument a cycle.

    Stages: (1) read base and slope; (2) slope * delta; (3) shift, add.

    Parameters
    ----------
    table
        Coefficients and widths.

    Members
    -------
    en
        Move one stage.
    argument
        Index bits above delta bits, unsigned.
    o
        24-bit significand, `LATENCY` enabled cycles later.
    """

    LATENCY = SEGMENT_CYCLES

    def __init__(self, table: Segments):
        self.table = table
        bits = table.index_bits + table.delta_bits
        super().__init__(
            {"en": In(1), "argument": In(bits), "o": Out(FP32_SIGNIFICAND_BITS)},
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        table = self.table
        mask = (1 << SLOPE_BITS) - 1
        rows = [
            base << SLOPE_BITS | slope & mask
            for base, slope in zip(table.base, table.slope, strict=True)
        ]
        shape = unsigned(FP32_SIGNIFICAND_BITS + SLOPE_BITS)
        m.submodules.rom = rom = memory.Memory(shape=shape, depth=len(rows), init=rows)
        port = rom.read_port()
        m.d.comb += [
            port.en.eq(self.en),
            port.addr.eq(self.argument[table.delta_bits :]),
        ]
        delta = register(m, self.en, self.argument[: table.delta_bits], "delta")
        slope, base = port.data[:SLOPE_BITS].as_signed(), port.data[SLOPE_BITS:]
        product = register(m, self.en, slope * delta, "product")
        base = register(m, self.en, base, "base")
        total = (base + (product >> table.shift))[:FP32_SIGNIFICAND_BITS]
        m.d.comb += self.o.eq(register(m, self.en, total, "total"))
        return m


class Exp2Negative(wiring.Component):
    """Return 2**-t in FP32 for a fixed-point t >= 0, cut off at t = 100. One a cycle.

    Stages: (1) limit, split into integer and fraction; then those of the table.

    Parameters
    ----------
    width
        Bits of the argument, at least 24.

    Members
    -------
    en
        Move one stage.
    argument
        t in units of 2**-16, unsigned.
    o
        FP32, `LATENCY` enabled cycles later.

    Raises
    ------
    ValueError
        The argument could not reach the cut-off.
    """

    LATENCY = EXP2_CYCLES

    def __init__(self, width: int):
        if width < 24:
            raise ValueError(f"Width must be at least 24, not {width!r}")
        super().__init__({"en": In(1), "argument": In(width), "o": Out(32)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.table = table = SegmentFunction(EXP2)
        whole = self.argument[EXPONENT_FRACTION_BITS:]
        fraction = self.argument[:EXPONENT_FRACTION_BITS]
        beyond = whole >= LARGEST_EXPONENT
        # t = up - f with f in [0, 1): 2**-t = 2**f * 2**-up.
        up = Mux(beyond, LARGEST_EXPONENT, whole + fraction.any())[:7]
        rest = Mux(beyond, 0, -fraction)[:EXPONENT_FRACTION_BITS]
        exponent = register(m, self.en, (FP32_BIAS - up)[:8], "exponent")
        m.d.comb += [
            table.en.eq(self.en),
            table.argument.eq(register(m, self.en, rest, "rest")),
        ]
        exponent = delay(m, self.en, exponent, table.LATENCY, "exponent")
        m.d.comb += self.o.eq(Cat(table.o[:FRACTION_BITS], exponent))
        return m


class Probability(wiring.Component):
    """Return 2**(s - m) * 2**15 in FP16 for a score s and an integer m. One a cycle.

    Stages: (1) score in units of 2**-24; (2) round to 2**-16; (3) m - s; then 2**-t, and rounding
    to FP16, always to nearest even. A score above m counts as m: no row has one but that of an
    instruction behind a failed one, which works on what that has left.

    Members
    -------
    en
        Move one stage.
    score
        s, FP16.
    maximum
        m, an integer.
    valid
        The score counts; where it does not the result is +0, whatever m.
    o
        FP16, `LATENCY` enabled cycles later.
    """

    LATENCY = PROBABILITY_CYCLES

    def __init__(self) -> None:
        super().__init__(
            {"en": In(1), "score": In(16), "maximum": In(signed(17)), "valid": In(1), "o": Out(16)}
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        width = 17 + EXPONENT_FRACTION_BITS + 1
        m.submodules.exp2 = exp2 = Exp2Negative(width)
        m.submodules.narrow = narrow = FloatToHalf(Rounding.NEAREST_EVEN)
        m.d.comb += [exp2.en.eq(self.en), narrow.en.eq(self.en)]

        fixed = register(m, self.en, half_to_units(self.score), "fixed")
        negative = delay(m, self.en, self.score[15], 2, "negative")
        dropped = UNITS_POINT - EXPONENT_FRACTION_BITS
        up = fixed[dropped - 1] & (fixed[: dropped - 1].any() | fixed[dropped])
        rounded = register(m, self.en, fixed[dropped:] + up, "rounded")
        maximum = Cat(Const(0, EXPONENT_FRACTION_BITS), delay(m, self.en, self.maximum, 2, "m"))
        distance = maximum.as_signed() - Mux(negative, -rounded, rounded)
        distance = register(m, self.en, distance, "distance")
        m.d.comb += exp2.argument.eq(Mux(distance < 0, 0, distance))

        # 2**-t * 2**15 is exact: t <= 100 leaves the exponent in range.
        scaled = exp2.o[FRACTION_BITS:31] + PROBABILITY_EXPONENT
        m.d.comb += narrow.a.eq(Cat(exp2.o[:FRACTION_BITS], scaled[:8]))
        valid = delay(m, self.en, self.valid, self.LATENCY, "valid")
        m.d.comb += self.o.eq(Mux(valid, narrow.o, 0))
        return m


def half_to_units(half: Any) -> Any:
    """Return the magnitude of an FP16 in units of 2**-24, 41 bits; 0 for subnormals."""
    kept = FP16_SIGNIFICAND_BITS - 1
    # The value is significand * 2**(exponent - 25).
    return (significand_of(half, kept) << half[kept:15])[1:42]
