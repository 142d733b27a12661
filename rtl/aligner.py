"""Align a block of 64 FP16 values to one exponent."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.data import ArrayLayout
from amaranth.lib.wiring import In, Out

from hwroute.column_format import LANES
from hwroute.numerics import FP16_MAGNITUDE_BITS, FP16_SIGNIFICAND_BITS, INT4_MAGNITUDE_BITS
from hwroute.rtl.pipeline import delay, register
from hwroute.timing import ALIGNER_CYCLES

ALIGNED_BITS = FP16_MAGNITUDE_BITS + 1
REFERENCE_BITS = 6
LARGEST_SHIFT = 31
"""Shifts are cut off here: anything beyond 18 places rounds to zero."""


class BlockAligner(wiring.Component):
    """Turn 64 FP16 into integers that share an exponent, rounded to nearest even.

    `hwroute.numerics.align_block` and, to given exponents, `align_to`. Latency
    `hwroute.timing.ALIGNER_CYCLES` enabled cycles, one block a cycle. Stages: (1) largest exponent
    of each eight lanes; (2) largest of all; (3) shift right; (4) round, apply the sign.

    Parameters
    ----------
    broadcast
        For the operand that all columns share: the choice of ``int4`` and ``given``. Without it
        magnitudes have 17 bits and the block's largest exponent is the reference.

    Members
    -------
    en
        Move one stage.
    lanes
        FP16 bits; subnormals read as zero.
    int4
        Magnitudes of 14 bits instead of 17.
    given
        Align each lane to its own ``reference`` instead of the block's largest exponent.
    reference
        Biased exponents, not below that of a lane that is not zero.
    aligned
        Signed integers.
    exponent
        Largest biased exponent of the block, 0 for zeros.
    """

    LATENCY = ALIGNER_CYCLES

    def __init__(self, *, broadcast: bool = False):
        self.broadcast = broadcast
        members: dict[str, Any] = {
            "en": In(1),
            "lanes": In(ArrayLayout(16, LANES)),
            "aligned": Out(ArrayLayout(signed(ALIGNED_BITS), LANES)),
            "exponent": Out(5),
        }
        if broadcast:
            members |= {
                "int4": In(1),
                "given": In(1),
                "reference": In(ArrayLayout(REFERENCE_BITS, LANES)),
            }
        super().__init__(members)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        exponents = [lane[10:15] for lane in self.lanes]
        groups = [
            register(m, self.en, largest(exponents[start : start + 8]), f"largest_{start}")
            for start in range(0, LANES, 8)
        ]
        block = register(m, self.en, largest(groups), "largest")
        m.d.comb += self.exponent.eq(delay(m, self.en, block, 2, "exponent"))
        int4: Value = Const(0)
        if self.broadcast:
            int4 = delay(m, self.en, self.int4, 2, "int4")
            given = delay(m, self.en, self.given, 2, "given")
        for index, lane in enumerate(self.lanes):
            bits = delay(m, self.en, lane, 2, f"lane_{index}")
            reference: Value = block
            if self.broadcast:
                own = delay(m, self.en, self.reference[index], 2, f"reference_{index}")
                reference = Mux(given, own, block)
            m.d.comb += self.aligned[index].eq(self._align(m, bits, reference, int4, index))
        return m

    def _align(self, m: Module, bits: Value, reference: Value, int4: Value, index: int) -> Value:
        """Stages 3 and 4 of one lane."""
        exponent, normal = bits[10:15], bits[10:15].any()
        significand = Cat(bits[:10], Const(1, 1)) & normal.replicate(FP16_SIGNIFICAND_BITS)
        distance = Signal(REFERENCE_BITS + 1, name=f"distance_{index}")
        extra = int4 * Const(FP16_MAGNITUDE_BITS - INT4_MAGNITUDE_BITS)
        m.d.comb += distance.eq((reference - exponent + extra)[: len(distance)])
        shift = Mux(distance > LARGEST_SHIFT, LARGEST_SHIFT, distance)[:5]
        # The significand sits above one bit for a half and those that only matter as not zero.
        below = FP16_MAGNITUDE_BITS + 1
        pad = FP16_MAGNITUDE_BITS - FP16_SIGNIFICAND_BITS
        wide = Cat(Const(0, below + pad), significand) >> shift
        kept = register(m, self.en, wide[below:], f"kept_{index}")
        half = register(m, self.en, wide[below - 1], f"half_{index}")
        rest = register(m, self.en, wide[: below - 1].any(), f"rest_{index}")
        negative = register(m, self.en, bits[15], f"negative_{index}")
        up = half & (rest | kept[0])
        # -(kept + up) = ~kept + (1 - up): one adder for rounding and sign.
        flipped = Cat(kept, Const(0, 1)) ^ negative.replicate(ALIGNED_BITS)
        total = flipped + (negative ^ up)
        return register(m, self.en, total[:ALIGNED_BITS].as_signed(), f"aligned_{index}")


def largest(values: list[Value]) -> Value:
    """Return the largest of some unsigned values."""
    if len(values) == 1:
        return values[0]
    half = len(values) // 2
    a, b = largest(values[:half]), largest(values[half:])
    return Mux(a > b, a, b)
