"""Two lanes of the vector unit, which share the arithmetic of a SwiGLU."""

from functools import cache
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hwroute.config import Rounding
from hwroute.rtl.accumulator import HALF_ONE
from hwroute.rtl.float32 import FloatAdd, FloatMultiply
from hwroute.rtl.float_convert import FloatToHalf, half_to_float
from hwroute.rtl.part import Part
from hwroute.rtl.pipeline import delay
from hwroute.rtl.silu import FLOAT_ONE, SiluFactors
from hwroute.rtl.vector_layouts import HALF_RESULT, VectorOperation
from hwroute.timing import FLOAT_MULTIPLY_CYCLES, VECTOR_FACTORS_CYCLES, VECTOR_PAIR_CYCLES

HALVES = data.ArrayLayout(16, 2)
STEPS = 4
"""The even lane multiplies in steps 0 and 1 and adds in 2; the odd lane is a step behind."""
ADDED = (VectorOperation.ROTATE, VectorOperation.RESIDUAL)
"""Operations that add the two products of a lane; others multiply the first by a third factor."""


class VectorPair(wiring.Component):
    """Compute an even and an odd lane: two multiplications, an addition, one rounding to FP16.

    A lane is ``(first factor * x) * second factor`` or the sum of two such products, rounded to
    nearest even at each step. One pair a cycle. The odd lane works a multiplication behind the even
    one, so that its second multiplier is the third of a SwiGLU, which has three in a row; both
    leave together. An FP32 element of DIVIDE takes the even lane's second multiplier, the only one
    of four that is FP32 by FP32. SWIGLU's result is that of the odd lane, DIVIDE's of the even one.

    Parameters
    ----------
    rounding
        Of the conversion to FP16.

    Members
    -------
    en
        Move one stage.
    x, y
        Two FP16 of a line each.
    operation
        That of x and y `hwroute.timing.VECTOR_FACTORS_CYCLES` later, and one, two and three
        multiplications after that.
    scale
        Factor of the line (`hwroute.rtl.row_scale.RowScale`) at the first two of these times.
    o
        `HALF_RESULT` of the two lanes, `LATENCY` enabled cycles later.
    """

    LATENCY = VECTOR_PAIR_CYCLES

    def __init__(self, rounding: Rounding):
        self.rounding = rounding
        super().__init__(
            {
                "en": In(1),
                "x": In(HALVES),
                "y": In(HALVES),
                "operation": In(data.ArrayLayout(VectorOperation, STEPS)),
                "scale": In(data.ArrayLayout(32, 2)),
                "o": Out(data.ArrayLayout(HALF_RESULT, 2)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.silu = silu = SiluFactors()
        m.d.comb += [silu.en.eq(self.en), silu.x.eq(self.x[0])]
        pair = data.StructLayout({"x": HALVES, "y": HALVES})
        # The operands at the times of steps 0, 1 and 2.
        late = delay(m, self.en, Cat(self.x, self.y), VECTOR_FACTORS_CYCLES, "operands")
        steps = [pair(late)]
        for step in (1, 2):
            late = delay(m, self.en, late, FLOAT_MULTIPLY_CYCLES, f"operands_{step}")
            steps.append(pair(late))
        swiglu = self._even(m, steps, silu)
        self._odd(m, steps, swiglu)
        return m

    def _even(self, m: Module, steps: list[Any], silu: SiluFactors) -> Value:
        """Compute lane 0; return silu(x[0]) in FP32, at the time of step 2."""
        first, second = FloatMultiply(half=True), FloatMultiply()
        m.submodules.even_first, m.submodules.even_second = first, second
        power = delay(m, self.en, silu.power, FLOAT_MULTIPLY_CYCLES, "power")
        x, y = steps[1].x, steps[1].y
        m.d.comb += [
            first.a.eq(self._first_factor(0, silu.reciprocal, steps[0].y[0])),
            first.b.eq(steps[0].x[0]),
        ]
        with m.Switch(self.operation[1]):
            with m.Case(VectorOperation.ROTATE):
                # b * -s; a sine of zero is zero with either sign.
                m.d.comb += [
                    second.a.eq(half_to_float(x[1])),
                    second.b.eq(half_to_float(y[1] ^ 0x8000)),
                ]
            with m.Case(VectorOperation.SWIGLU):
                m.d.comb += [second.a.eq(first.o), second.b.eq(power)]
            with m.Case(VectorOperation.RESIDUAL):
                m.d.comb += [second.a.eq(half_to_float(y[0])), second.b.eq(FLOAT_ONE)]
            with m.Case(VectorOperation.DIVIDE):
                m.d.comb += [second.a.eq(Value.cast(x)), second.b.eq(self.scale[1])]
            with m.Default():
                m.d.comb += [second.a.eq(first.o), second.b.eq(half_to_float(y[0]))]
        result = self._finish(m, first, second, self.operation[2], "even")
        # The odd lane is a multiplication behind.
        m.d.comb += self.o[0].eq(delay(m, self.en, result, FLOAT_MULTIPLY_CYCLES, "even"))
        return second.o

    def _odd(self, m: Module, steps: list[Any], silu: Value) -> None:
        """Compute lane 1."""
        first, second = FloatMultiply(half=True), FloatMultiply(half=True)
        m.submodules.odd_first, m.submodules.odd_second = first, second
        x, y = steps[2].x, steps[2].y
        m.d.comb += [
            first.a.eq(self._first_factor(1, FLOAT_ONE, steps[1].y[0])),
            first.b.eq(steps[1].x[1]),
        ]
        with m.Switch(self.operation[2]):
            with m.Case(VectorOperation.ROTATE):
                m.d.comb += [second.a.eq(half_to_float(x[0])), second.b.eq(y[1])]
            with m.Case(VectorOperation.SWIGLU):
                m.d.comb += [second.a.eq(silu), second.b.eq(x[1])]
            with m.Case(VectorOperation.RESIDUAL):
                m.d.comb += [second.a.eq(half_to_float(y[1])), second.b.eq(HALF_ONE)]
            with m.Default():
                m.d.comb += [second.a.eq(first.o), second.b.eq(y[1])]
        m.d.comb += self.o[1].eq(self._finish(m, first, second, self.operation[3], "odd"))

    def _first_factor(self, step: int, silu: Any, cosine: Value) -> Value:
        """Return what multiplies a lane's own x."""
        operation = self.operation[step]
        factor = Mux(operation == VectorOperation.SWIGLU, silu, self.scale[step])
        return Mux(operation == VectorOperation.ROTATE, half_to_float(cosine), factor)

    def _finish(
        self, m: Module, first: FloatMultiply, second: FloatMultiply, operation: Any, name: str
    ) -> Value:
        """Add the products where the operation does, round; return a `HALF_RESULT`."""
        add, narrow = FloatAdd(), FloatToHalf(self.rounding)
        m.submodules[f"{name}_add"], m.submodules[f"{name}_narrow"] = add, narrow
        is_sum = Cat(operation == one for one in ADDED).any()
        m.d.comb += [unit.en.eq(self.en) for unit in (first, second, add, narrow)]
        m.d.comb += [
            add.a.eq(second.o),
            add.b.eq(Mux(is_sum, delay(m, self.en, first.o, second.LATENCY, f"{name}_first"), 0)),
            narrow.a.eq(add.o),
        ]
        return Cat(narrow.o, narrow.saturated)


@cache
def _vector_pair(rounding: Rounding) -> VectorPair:
    return VectorPair(rounding)


def vector_pair(rounding: Rounding) -> Part:
    """Return one more placement of `VectorPair`, which is one module in all Verilog."""
    return Part("hwroute_vector_pair", _vector_pair(rounding))
