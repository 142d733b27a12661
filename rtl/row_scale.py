"""What multiplies a whole line: a function of one statistic of its row."""

from typing import Any

from amaranth.hdl import Module, Mux
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwroute.rtl.float32 import FloatAdd, FloatMultiply
from hwroute.rtl.pipeline import delay
from hwroute.rtl.reciprocal import Reciprocal
from hwroute.rtl.silu import FLOAT_ONE
from hwroute.rtl.vector_layouts import VectorOperation
from hwroute.timing import ROW_SCALE_CYCLES


class RowScale(wiring.Component):
    """Return the factor of a line, FP32, rounding to nearest even at each step. One a cycle.

    NORMALISE: 1/sqrt(statistic * inverse + epsilon). DIVIDE: 1/statistic. Other operations: 1.

    Members
    -------
    en
        Move one stage.
    operation
        `VectorOperation`.
    statistic, inverse, epsilon
        FP32, as in `hwroute.rtl.vector_layouts.vector_layout`.
    o
        FP32, `LATENCY` enabled cycles later.
    """

    LATENCY = ROW_SCALE_CYCLES

    def __init__(self) -> None:
        operands = {"statistic": In(32), "inverse": In(32), "epsilon": In(32)}
        super().__init__({"en": In(1), "operation": In(VectorOperation), "o": Out(32)} | operands)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.mean = mean = FloatMultiply()
        m.submodules.add = add = FloatAdd()
        m.submodules.root = root = Reciprocal(root=True)
        m.submodules.divide = divide = Reciprocal()
        before = mean.LATENCY + add.LATENCY
        m.d.comb += [unit.en.eq(self.en) for unit in (mean, add, root, divide)]
        m.d.comb += [
            mean.a.eq(self.statistic),
            mean.b.eq(self.inverse),
            add.a.eq(mean.o),
            add.b.eq(delay(m, self.en, self.epsilon, mean.LATENCY, "epsilon")),
            root.a.eq(add.o),
            divide.a.eq(delay(m, self.en, self.statistic, before, "statistic")),
        ]
        operation = delay(m, self.en, self.operation, self.LATENCY, "operation")
        other = Mux(operation == VectorOperation.DIVIDE, divide.o, FLOAT_ONE)
        m.d.comb += self.o.eq(Mux(operation == VectorOperation.NORMALISE, root.o, other))
        return m
