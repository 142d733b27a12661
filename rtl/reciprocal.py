"""Reciprocals and reciprocal square roots from piecewise linear tables (`hwroute.functions`)."""

from typing import Any

from amaranth.hdl import Cat, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwroute.functions import RECIPROCAL, RSQRT
from hwroute.numerics import FP32_BIAS
from hwroute.rtl.exp2 import SegmentFunction
from hwroute.rtl.float32 import FRACTION_BITS
from hwroute.rtl.pipeline import delay
from hwroute.timing import RECIPROCAL_CYCLES


class Reciprocal(wiring.Component):
    """Return 1/y or 1/sqrt(y) in FP32 for FP32 y > 0. One a cycle; stages are those of the table.

    Bit for bit `hwroute.models.ops.functions.reciprocal` and ``rsqrt``. 1/y stays in FP32's range
    for y below 2**126.

    Parameters
    ----------
    root
        Return 1/sqrt(y).

    Members
    -------
    en
        Move one stage.
    a
        y; its sign is not looked at.
    o
        FP32, `LATENCY` enabled cycles later.
    """

    LATENCY = RECIPROCAL_CYCLES

    def __init__(self, *, root: bool = False):
        self.root = root
        super().__init__({"en": In(1), "a": In(32), "o": Out(32)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.table = table = SegmentFunction(RSQRT if self.root else RECIPROCAL)
        fraction, biased = self.a[:FRACTION_BITS], self.a[FRACTION_BITS:31]
        exponent = biased - FP32_BIAS
        if self.root:
            # The table's argument is in [1, 4): an odd exponent leaves its 2 there.
            argument, halved = Cat(fraction, exponent[0]), exponent >> 1
        else:
            argument, halved = fraction, exponent
        # The significand is that of a value in [0.5, 1), which its hidden bit counts as [1, 2).
        result = delay(m, self.en, (FP32_BIAS - 1 - halved)[:8], table.LATENCY, "exponent")
        m.d.comb += [
            table.en.eq(self.en),
            table.argument.eq(argument),
            self.o.eq(Cat(table.o[:FRACTION_BITS], result)),
        ]
        return m
