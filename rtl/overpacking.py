"""Overpacking: two products of significands on one DSP48E2.

SkipOPU's overpacking [arXiv 2603.14785], with significands u0, u1 (of two columns) and w (of x) of
11 bits, hidden bit included, and f = u1[9:0]:

    AD  = u0[10:1] - f * 2**16
    aux = (f[4:0] * w[4:0]) mod 32
    C   = -(u1[10] * w) * 2**26 + aux * 2**16 + (u0[0] ? w[10:1] : 0)
    P   = AD * w + C

gives u0 * w = {P[20:0], u0[0] & w[0]} and u1 * w = {-(P >> 21), aux}, both exact. Their upper 15
bits are P[20:6] and -(P >> 21) >> 2.

Why the two do not disturb each other: P is the sum of L = u0[10:1] * w + (u0[0] ? w[10:1] : 0),
which is floor(u0 * w / 2) and so between 0 and 2**21 - 1, and of
H = 2**16 * (aux - f * w) - 2**26 * u1[10] * w, which is -2**21 * floor(u1 * w / 32). Each depends
on two significands only, so a sweep over pairs proves the product of all three.
"""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed

from hwroute.numerics import FP16_SIGNIFICAND_BITS
from hwroute.rtl.dsp48e2 import A_BITS, B_BITS, C_BITS, D_BITS, P_BITS, Addend, dsp48e2

MAGNITUDE_BITS = 15
INT4_OFFSET = 15
"""Distance of two INT4 on the 27-bit port: a product with a significand has 15 bits with sign."""
LEFT_BIT, TOP_BIT = 16, 26
"""Where f and the hidden bit of u1 weigh in."""


def multiply(
    m: Module, x: Value, pair: tuple[Value, Value], weights: Any, fp16: Value, name: str
) -> Signal:
    """Place a DSP48E2 and return its P, `hwroute.timing.DSP_CYCLES` after the operands.

    Parameters
    ----------
    x
        FP16 bits of the operand that both products share.
    pair
        FP16 bits of the two columns' operands.
    weights
        The two columns' INT4 weights, signed.
    fp16
        Multiply by `pair` instead of `weights`.
    name
        Of the lane.
    """
    w, u0, u1 = significand(x), significand(pair[0]), significand(pair[1])
    f = u1[:10]
    aux = (f[:5] * w[:5])[:5]
    high = Cat(Const(0, INT4_OFFSET), weights[1]).as_signed()
    a = Signal(signed(A_BITS), name=f"a_{name}")
    b = Signal(signed(B_BITS), name=f"b_{name}")
    d = Signal(signed(D_BITS), name=f"d_{name}")
    c = Signal(signed(C_BITS), name=f"c_{name}")
    addend = Cat(Mux(u0[0], w[1:], 0), Const(0, LEFT_BIT - 10), aux).as_unsigned() - (
        Mux(u1[10], w, 0) << TOP_BIT
    )
    m.d.comb += [
        a.eq(Mux(fp16, f << LEFT_BIT, high)),
        b.eq(Mux(~fp16 & x[15], -w, w)),
        d.eq(Mux(fp16, u0[1:], weights[0])),
    ]
    m.d.sync += c.eq(Mux(fp16, addend, 0))
    p = Signal(P_BITS, name=f"product_{name}")
    m.submodules[f"dsp_{name}"] = dsp48e2(
        a=a, b=Value.cast(b), c=Value.cast(c), d=d, subtract=fp16, addend=Addend.C, p=p
    )
    return p


def magnitude_of(p: Signal, fp16: Value, column: int) -> Value:
    """Return the 15-bit magnitude of one column's product, from P."""
    if column == 0:
        exact, int4 = p[6:21], p[:INT4_OFFSET].as_signed()
    else:
        exact = (-p[21:39].as_signed())[2 : 2 + MAGNITUDE_BITS]
        # A negative low product has borrowed one from the high one.
        int4 = (p[INT4_OFFSET : 2 * INT4_OFFSET] + p[INT4_OFFSET - 1])[:INT4_OFFSET].as_signed()
    magnitude = Mux(int4[-1], -int4, int4)[:MAGNITUDE_BITS]
    return Mux(fp16, exact, magnitude)


def significand(half: Value) -> Value:
    """Return the 11-bit significand of FP16 bits, 0 for zero and subnormals."""
    normal = half[10:15].any()
    return Cat(half[:10], Const(1, 1)) & normal.replicate(FP16_SIGNIFICAND_BITS)
