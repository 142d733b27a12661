"""The fixed-point formats inside PE columns: what an integer of a column is worth.

Shared by golden operators (`hwroute.models.ops.columns`) and RTL; docs/numerics.md says why.
"""

from hwroute.isa.fields import LINE_ELEMENTS
from hwroute.numerics import (
    FP16_BIAS,
    FP16_MAGNITUDE_BITS,
    FP16_SIGNIFICAND_BITS,
    INT4_MAGNITUDE_BITS,
    PROBABILITY_EXPONENT,
)

LANES = LINE_ELEMENTS
"""Elements of a reduction that a column takes at a time: a line of the scratchpad."""
INT4_POINT = FP16_BIAS + INT4_MAGNITUDE_BITS - 1
"""An activation aligned for FP16xINT4, a at block exponent e, is a * 2**(e - INT4_POINT)."""
FP16_POINT = FP16_BIAS + FP16_MAGNITUDE_BITS - 1
"""The same for the operands of FP16xFP16."""
SIGNIFICAND_POINT = FP16_BIAS + FP16_SIGNIFICAND_BITS - 1
"""An FP16 significand m at exponent e is m * 2**(e - SIGNIFICAND_POINT)."""
TRUNCATED_BITS = 7
"""Bits that the overpacked variant drops of a 22-bit product of significands."""
PROBABILITY_REFERENCE = FP16_BIAS + PROBABILITY_EXPONENT
"""Biased exponent of the largest probability, 2**15."""
VALUES_POINT = FP16_POINT + FP16_POINT - PROBABILITY_REFERENCE
"""A sum s of aligned probabilities times values at reference r is s * 2**(r - VALUES_POINT)."""

INT4_SUM_BITS = 24
"""Signed sum of 64 products in FP16xINT4: |sum| <= 64 * 8 * 16383 < 2**23."""
FP16_SUM_BITS = 41
"""Signed sum of 64 products in FP16xFP16: |sum| < 64 * 2**17 * 2**17 = 2**40."""
VALUES_SUM_BITS = 58
"""Signed sum of probabilities times values: 2**23 tokens of |p v| < 2**34."""
OVERPACKED_SUM_BITS = 22
"""Signed sum of 64 magnitudes of 15 bits."""
