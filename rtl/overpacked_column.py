"""A pair of columns of the overpacked variant: two products a DSP48E2, aligned afterwards.

SkipOPU's overpacking [arXiv 2603.14785], with significands u0, u1 (of two columns) and w (of x) of
11 bits, hidden bit included, and f = u1[9:0]:

    AD  = u0[10:1] - f * 2**16
    aux = (f[4:0] * w[4:0]) mod 32
    C   = -(u1[10] * w) * 2**26 + aux * 2**16 + (u0[0] ? w[10:1] : 0)
    P   = AD * w + C

gives u0 * w = {P[20:0], u0[0] & w[0]} and u1 * w = {-(P >> 21), aux}, both exact. Their upper 15
bits are P[20:6] and -(P >> 21) >> 2.
"""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.data import ArrayLayout
from amaranth.lib.wiring import In

from hwroute.column_format import LANES, OVERPACKED_SUM_BITS
from hwroute.numerics import FP16_SIGNIFICAND_BITS
from hwroute.rtl.aligner import largest
from hwroute.rtl.column_ports import (
    EXPONENT_BITS,
    ColumnShape,
    finish_layout,
    kernel_memory,
    read_layout,
    sum_members,
    weight_memory,
    write_members,
)
from hwroute.rtl.dsp48e2 import A_BITS, B_BITS, C_BITS, D_BITS, P_BITS, Addend, dsp48e2
from hwroute.rtl.pipeline import adder_tree, delay, register
from hwroute.timing import DSP_CYCLES

MAGNITUDE_BITS = 15
INT4_OFFSET = 15
"""Distance of two INT4 on the 27-bit port: a product with a significand has 15 bits with sign."""
LEFT_BIT, TOP_BIT = 16, 26
"""Where f and the hidden bit of u1 weigh in."""


class OverpackedColumnPair(wiring.Component):
    """Two columns of 64 lanes that align products to the largest exponent of the 64.

    A lane's two products share a DSP48E2 and x. Products that are zero contribute no exponent;
    magnitudes are truncated toward zero. Latency `hwroute.timing.OVERPACKED_COLUMN_CYCLES`, one
    beat a cycle; nothing stalls. Stages: (1) operands; (2) multiply; (3) P, beside it the largest
    exponent; (4) magnitudes; (5) shift, apply the sign; (6 to 8) add. A written tile can be read
    in the next cycle.

    Parameters
    ----------
    shape
        Of the array.

    Members
    -------
    weights_write, weights_row, weights
        Write a tile of INT4 weights of the two columns.
    kernel_write, kernel_row, kernel_values, kernel_vector, kernel_elements
        Write, by column, a vector of K to all lanes, or elements of V to the lanes of the groups
        set in ``kernel_write``.
    x
        FP16 lanes.
    read
        What they read.
    finish
        In the cycle before the sums leave; only ``power`` is used: what the largest exponent is to
        be added to.
    sum0, power0, sum1, power1
        Sums of the two columns and their powers of two.
    """

    def __init__(self, shape: ColumnShape):
        self.shape = shape
        super().__init__(
            write_members(shape)
            | {
                "x": In(ArrayLayout(16, LANES)),
                "read": In(read_layout(shape)),
                "finish": In(finish_layout(shape)),
            }
            | sum_members((OVERPACKED_SUM_BITS, OVERPACKED_SUM_BITS))
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        lanes = list(range(LANES))
        row, weights = weight_memory(m, self, lanes, "weights")
        m.d.comb += row.eq(self.read.weights)
        kernels = []
        for column in (0, 1):
            name = f"kernel_{column}"
            kernel_row, elements = kernel_memory(m, self, self.shape, lanes, column, name)
            m.d.comb += kernel_row.eq(self.read.kernel)
            kernels.append(elements)
        fp16 = self.read.fp16
        products, signs, exponents = [], [], []
        for lane in lanes:
            x, pair = self.x[lane], (kernels[0][lane], kernels[1][lane])
            products.append(self._multiply(m, x, pair, weights[lane], lane))
            for column, (y, weight) in enumerate(zip(pair, weights[lane], strict=True)):
                normal = x[10:15].any() & Mux(fp16, y[10:15].any(), weight.any())
                power = x[10:15] + Mux(fp16, y[10:15], 0)
                name = f"{column}_{lane}"
                signs.append(register(m, 1, x[15] ^ Mux(fp16, y[15], weight[3]), f"sign_{name}"))
                exponents.append(register(m, 1, Mux(normal, power, 0), f"exponent_{name}"))
        late_fp16 = delay(m, 1, fp16, DSP_CYCLES, "fp16")
        for column in (0, 1):
            magnitudes = [self._magnitude(p, late_fp16, column) for p in products]
            self._reduce(m, magnitudes, signs[column::2], exponents[column::2], column)
        return m

    def _multiply(self, m: Module, x: Value, pair: Any, weights: Any, lane: int) -> Signal:
        """Return P of a lane."""
        fp16 = self.read.fp16
        w, u0, u1 = significand(x), significand(pair[0]), significand(pair[1])
        f = u1[:10]
        aux = (f[:5] * w[:5])[:5]
        high = Cat(Const(0, INT4_OFFSET), weights[1]).as_signed()
        a = Signal(signed(A_BITS), name=f"a_{lane}")
        b = Signal(signed(B_BITS), name=f"b_{lane}")
        d = Signal(signed(D_BITS), name=f"d_{lane}")
        c = Signal(signed(C_BITS), name=f"c_{lane}")
        addend = Cat(Mux(u0[0], w[1:], 0), Const(0, LEFT_BIT - 10), aux).as_unsigned() - (
            Mux(u1[10], w, 0) << TOP_BIT
        )
        m.d.comb += [
            a.eq(Mux(fp16, f << LEFT_BIT, high)),
            b.eq(Mux(~fp16 & x[15], -w, w)),
            d.eq(Mux(fp16, u0[1:], weights[0])),
        ]
        m.d.sync += c.eq(Mux(fp16, addend, 0))
        p = Signal(P_BITS, name=f"product_{lane}")
        m.submodules[f"dsp_{lane}"] = dsp48e2(
            a=a, b=Value.cast(b), c=Value.cast(c), d=d, subtract=fp16, addend=Addend.C, p=p
        )
        return p

    def _magnitude(self, p: Signal, fp16: Value, column: int) -> Value:
        """Return the 15-bit magnitude of one column's product."""
        if column == 0:
            exact, int4 = p[6:21], p[:INT4_OFFSET].as_signed()
        else:
            exact = (-p[21:39].as_signed())[2 : 2 + MAGNITUDE_BITS]
            # A negative low product has borrowed one from the high one.
            int4 = (p[INT4_OFFSET : 2 * INT4_OFFSET] + p[INT4_OFFSET - 1])[:INT4_OFFSET].as_signed()
        magnitude = Mux(int4[-1], -int4, int4)[:MAGNITUDE_BITS]
        return Mux(fp16, exact, magnitude)

    def _reduce(
        self, m: Module, magnitudes: list[Value], signs: list[Value], exponents: Any, column: int
    ) -> None:
        """Align the products of a column, which leave stage 3, and add them."""
        groups = [
            register(m, 1, largest(exponents[start : start + 8]), f"largest_{column}_{start}")
            for start in range(0, LANES, 8)
        ]
        top = register(m, 1, largest(groups), f"largest_{column}")
        aligned = []
        for lane, magnitude in enumerate(magnitudes):
            name = f"{column}_{lane}"
            exponent = delay(m, 1, exponents[lane], 2, f"late_exponent_{name}")
            distance = (top - exponent)[:6]
            shift = register(m, 1, Mux(distance > 15, 15, distance)[:4], f"shift_{name}")
            held = register(m, 1, magnitude, f"magnitude_{name}")
            negative = delay(m, 1, signs[lane], 3, f"negative_{name}")
            shifted = held >> shift
            aligned.append(register(m, 1, Mux(negative, -shifted, shifted), f"aligned_{name}"))
        total, cycles = adder_tree(m, 1, aligned, f"sum_{column}")
        last = delay(m, 1, top, cycles + 1, f"power_{column}")
        power = (last + self.finish.power)[:EXPONENT_BITS].as_signed()
        m.d.comb += [
            getattr(self, f"sum{column}").eq(total),
            getattr(self, f"power{column}").eq(register(m, 1, power, f"power_out_{column}")),
        ]


def significand(half: Value) -> Value:
    """Return the 11-bit significand of FP16 bits, 0 for zero and subnormals."""
    normal = half[10:15].any()
    return Cat(half[:10], Const(1, 1)) & normal.replicate(FP16_SIGNIFICAND_BITS)
