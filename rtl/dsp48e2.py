"""The DSP48E2 primitive, placed explicitly.

One configuration of the slice serves every column: pre-adder, multiplier and ALU, each followed by
a register, P = (D + A or D - A) * B + Z. It takes `DSP_CYCLES` from A, B, C and D to P, of which C
skips the first: an addend arrives one cycle after the factors that it belongs to. PCIN is added in
the last cycle, so lane i of a cascade takes its operands i cycles after lane 0.
"""

from enum import Enum
from typing import Any

from amaranth.hdl import Cat, ClockSignal, Const, Instance, Signal, Value

A_BITS, B_BITS, C_BITS, D_BITS, P_BITS = 27, 18, 48, 27, 48
"""Widths of the operands: the pre-adder takes the lower 27 bits of port A."""
A_PORT_BITS = 30

_ATTRIBUTES = {
    "AMULTSEL": "AD",
    "A_INPUT": "DIRECT",
    "BMULTSEL": "B",
    "B_INPUT": "DIRECT",
    "PREADDINSEL": "A",
    "USE_MULT": "MULTIPLY",
    "USE_SIMD": "ONE48",
    # A LUT RAM drives A and D; the pre-adder's register is enough at 225 MHz.
    "AREG": 0,
    "ACASCREG": 0,
    "DREG": 0,
    "ADREG": 1,
    "BREG": 1,
    "BCASCREG": 1,
    "CREG": 1,
    "MREG": 1,
    "PREG": 1,
    "INMODEREG": 0,
    "OPMODEREG": 0,
    "ALUMODEREG": 0,
    "CARRYINREG": 0,
    "CARRYINSELREG": 0,
}
_ENABLES = (
    *("CEA1", "CEA2", "CEAD", "CEALUMODE", "CEB1", "CEB2", "CEC", "CECARRYIN", "CECTRL", "CED"),
    *("CEINMODE", "CEM", "CEP"),
)
_ZEROS = {
    "ACIN": 30,
    "ALUMODE": 4,
    "BCIN": 18,
    "CARRYCASCIN": 1,
    "CARRYIN": 1,
    "CARRYINSEL": 3,
    "MULTSIGNIN": 1,
    "RSTA": 1,
    "RSTALLCARRYIN": 1,
    "RSTALUMODE": 1,
    "RSTB": 1,
    "RSTC": 1,
    "RSTCTRL": 1,
    "RSTD": 1,
    "RSTINMODE": 1,
    "RSTM": 1,
    "RSTP": 1,
}


class Addend(Enum):
    """What the ALU adds to the product: OPMODE, with W = 0 and X, Y = M."""

    NONE = 0b000000101
    CASCADE = 0b000010101
    """PCIN."""
    C = 0b000110101


def dsp48e2(
    *,
    a: Value,
    b: Value,
    d: Value,
    addend: Addend,
    p: Value,
    subtract: Value | None = None,
    c: Value | None = None,
    pcin: Value | None = None,
    pcout: Value | None = None,
) -> Instance:
    """Return an instance that computes p = (d + a) * b + addend, or (d - a) * b + addend.

    Parameters
    ----------
    a, d
        27 bits each; their sum or difference must fit 27 bits.
    b
        18 bits, signed.
    addend
        Nothing, the cascade input or `c`.
    p
        48 bits, driven `DSP_CYCLES` later.
    subtract
        Form d - a; not set if left out.
    c
        48 bits, one cycle after a, b and d.
    pcin, pcout
        48 bits each: only ever from one instance to the next.
    """
    for name, value, bits in (("A", a, A_BITS), ("B", b, B_BITS), ("D", d, D_BITS)):
        if len(value) != bits:
            raise ValueError(f"Operand {name} must be {bits} bits wide, not {len(value)!r}")
    ports: dict[str, Any] = {
        "i_CLK": ClockSignal(),
        "i_A": Cat(a, a[-1].replicate(A_PORT_BITS - A_BITS)),
        "i_B": b,
        "i_C": Const(0, C_BITS) if c is None else c,
        "i_D": d,
        "i_PCIN": Const(0, P_BITS) if pcin is None else pcin,
        "i_OPMODE": Const(addend.value, 9),
        # D - A or D + A, both operands unregistered, B from its register.
        "i_INMODE": Cat(
            Const(0b100, 3), Const(0, 1) if subtract is None else subtract, Const(0, 1)
        ),
        "o_P": p,
        "o_PCOUT": Signal(P_BITS, name="open") if pcout is None else pcout,
    }
    ports |= {f"i_{name}": Const(1, 1) for name in _ENABLES}
    ports |= {f"i_{name}": Const(0, bits) for name, bits in _ZEROS.items()}
    ports |= {f"p_{name}": value for name, value in _ATTRIBUTES.items()}
    return Instance("DSP48E2", **ports)
