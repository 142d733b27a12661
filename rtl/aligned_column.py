"""A pair of columns of the aligned variant: 64 DSP48E2 on integers."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In

from hwroute.column_format import FP16_SUM_BITS, INT4_SUM_BITS, LANES
from hwroute.rtl.column_ports import (
    EXPONENT_BITS,
    ColumnShape,
    operand_memories,
    pair_members,
)
from hwroute.rtl.dsp48e2 import A_BITS, D_BITS, P_BITS, Addend, dsp48e2
from hwroute.rtl.pipeline import register
from hwroute.timing import CASCADE_LANES

PACK_BITS = 22
"""Distance of the two INT4 on the 27-bit port.

16 lanes of 8 * 16383 stay below 2**21, so that the low sum of a cascade is a signed 22-bit number
and the high one is what is left without it.
"""
CASCADE_FP16_BITS = 40
"""A cascade's sum of FP16xFP16: 16 * 2**17 * 2**17 = 2**38."""


class AlignedColumnPair(wiring.Component):
    """Two FP16xINT4 columns or one FP16xFP16 column of 64 lanes, exact integer sums.

    Lane l is place l % 16 of cascade l // 16. A DSP48E2 multiplies the aligned x (port B) by
    w1 * 2**22 + w0, which its pre-adder forms (ports A and D), or by the aligned element of K or V
    (port D). Latency `hwroute.timing.ALIGNED_COLUMN_CYCLES` from the operands of place 0 to the
    sums, one beat a cycle; nothing stalls. A written tile can be read in the next cycle.

    Parameters
    ----------
    shape
        Of the array.

    Members
    -------
    weights_write, weights_row, weights
        Write a tile of INT4 weights of the two columns.
    kernel_write, kernel_row, kernel_values, kernel_vector, kernel_elements
        Write a vector of K to all lanes, or elements of V to the lanes of the groups set in
        ``kernel_write``.
    kernel_exponent
        Block exponent of the vector of K.
    x
        Aligned lanes; place p of a cascade, and ``read`` of that place, p cycles after place 0.
    read
        What each place reads.
    finish
        In the cycle before the sums leave: ``power`` is the power of two of the sum, to which the
        exponent of the vector of K is added if ``scores`` is set.
    sum0, power0
        First column's FP16xINT4 sum or the FP16xFP16 sum.
    sum1, power1
        Second column's sum, 0 in FP16xFP16.
    """

    def __init__(self, shape: ColumnShape):
        self.shape = shape
        super().__init__(
            pair_members(shape, (FP16_SUM_BITS, INT4_SUM_BITS)) | {"kernel_exponent": In(5)}
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        cascades = LANES // CASCADE_LANES
        products = [Signal(P_BITS, name=f"product_{cascade}") for cascade in range(cascades)]
        chains: list[Signal | None] = [None] * cascades
        for place in range(CASCADE_LANES):
            lanes = [cascade * CASCADE_LANES + place for cascade in range(cascades)]
            read = self.read[place]
            operands = operand_memories(m, self, lanes, read, f"_{place}")
            weights, (elements,) = operands.weights, operands.elements
            for cascade, lane in enumerate(lanes):
                a, d = pack(m, read.fp16, weights[cascade], elements[cascade], str(lane))
                is_last = place == CASCADE_LANES - 1
                chain = None if is_last else Signal(P_BITS, name=f"chain_{lane}")
                previous = chains[cascade]
                m.submodules[f"dsp_{lane}"] = dsp48e2(
                    a=a,
                    b=Value.cast(self.x[lane]),
                    d=d,
                    addend=Addend.NONE if previous is None else Addend.CASCADE,
                    pcin=previous,
                    pcout=chain,
                    p=products[cascade] if is_last else Signal(P_BITS, name=f"open_{lane}"),
                )
                chains[cascade] = chain
        self._finish(m, products)
        return m

    def _finish(self, m: Module, products: list[Signal]) -> None:
        fp16 = self.finish.fp16
        sums = [unpack(p) for p in products]
        whole = [p[:CASCADE_FP16_BITS].as_signed() for p in products]
        low = [Mux(fp16, w, int4[0]) for w, int4 in zip(whole, sums, strict=True)]
        high = [int4[1] for int4 in sums]
        sum0 = (low[0] + low[1]) + (low[2] + low[3])
        sum1 = Mux(fp16, 0, (high[0] + high[1]) + (high[2] + high[3]))

        exponents = memory.Memory(shape=5, depth=self.shape.tiles * self.shape.parts, init=[])
        m.submodules.exponents = exponents
        write, read = exponents.write_port(), exponents.read_port(domain="comb")
        m.d.comb += [
            write.en.eq(self.kernel_write[0].any()),
            write.addr.eq(self.kernel_row),
            write.data.eq(self.kernel_exponent),
            read.addr.eq(self.finish.kernel),
        ]
        power = self.finish.power + Mux(self.finish.scores, read.data, 0)
        power = register(m, 1, power[:EXPONENT_BITS].as_signed(), "power")
        m.d.comb += [
            self.sum0.eq(register(m, 1, sum0, "sum_0")),
            self.sum1.eq(register(m, 1, sum1, "sum_1")),
            self.power0.eq(power),
            self.power1.eq(power),
        ]


def pack(m: Module, fp16: Value, weights: Any, element: Value, name: str) -> tuple[Signal, Signal]:
    """Return the pre-adder's operands: two INT4 of which it forms one, or an aligned element."""
    a, d = Signal(A_BITS, name=f"a_{name}"), Signal(signed(D_BITS), name=f"d_{name}")
    high = Cat(Const(0, PACK_BITS), weights[1]).as_signed()
    m.d.comb += [
        a.eq(Mux(fp16, 0, high)),
        d.eq(Mux(fp16, element.as_signed(), weights[0])),
    ]
    return a, d


def unpack(p: Signal) -> tuple[Value, Value]:
    """Return the low and the high sum of a cascade of packed INT4 products."""
    # A negative low sum has borrowed one from the high one.
    return (
        p[:PACK_BITS].as_signed(),
        p[PACK_BITS : 2 * PACK_BITS].as_signed() + p[PACK_BITS - 1],
    )
