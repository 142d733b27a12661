"""Every number format and every rounding of the machine, on integer arrays.

The written contract is docs/numerics.md; golden operators and RTL units cite the functions here by
name. Formats:

- *FP16*: IEEE binary16 bit patterns (uint16) without subnormals and without non-finite values.
  Subnormals read as zero; every zero that is produced is +0.
- *FP32*: IEEE binary32, the format of partial sums, logits and statistics. Additions and
  multiplications round to nearest even, which is what NumPy's float32 does by definition. No
  operand of this machine comes near its subnormal or infinite range.
- *aligned block*: integers that share one exponent (`align_block`, `align_to`).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwroute.config import Rounding

Ints = NDArray[np.int64]
Bits16 = NDArray[np.uint16]
Floats32 = NDArray[np.float32]

FP16_BIAS = 15
FP16_SIGNIFICAND_BITS = 11
"""Hidden bit included."""
FP16_LARGEST = 0x7BFF
"""65504, where overflow saturates."""
FP32_BIAS = 127
FP32_SIGNIFICAND_BITS = 24

INT4_MAGNITUDE_BITS = 14
"""Aligned activations of FP16xINT4: |a| <= 16383, three guard bits below the FP16 significand.

Two INT4 weights sit 22 bits apart on a DSP's 27-bit port; 16 lanes of 8 * 16383 sum to less than
2**21, so the low product never disturbs the high one within a cascade of 16.
"""
FP16_MAGNITUDE_BITS = 17
"""Aligned operands of FP16xFP16: both fit a DSP's 18-bit port, six guard bits."""
PROBABILITY_EXPONENT = 15
"""Unnormalised probabilities are scaled by 2**15, the largest power of two an FP16 holds."""


def _decode_table() -> tuple[Ints, Ints, Ints]:
    patterns = np.arange(1 << 16, dtype=np.int64)
    exponent = (patterns >> 10) & 0x1F
    normal = exponent != 0
    significand = np.where(normal, (patterns & 0x3FF) | 0x400, 0)
    return np.where(normal, patterns >> 15, 0), exponent, significand


_NEGATIVE, _EXPONENT, _SIGNIFICAND = _decode_table()
_AS_FLOAT64 = np.where(_NEGATIVE == 1, -1.0, 1.0) * np.ldexp(
    _SIGNIFICAND.astype(np.float64), _EXPONENT - FP16_BIAS - FP16_SIGNIFICAND_BITS + 1
)


def decode_fp16(bits: Bits16) -> tuple[Ints, Ints, Ints]:
    """Split FP16 patterns into (negative 0/1, biased exponent, significand), each [...] int64.

    The significand includes the hidden bit (1024..2047); zero and subnormals give (0, 0, 0).
    """
    return _NEGATIVE[bits], _EXPONENT[bits], _SIGNIFICAND[bits]


def fp16_to_float64(bits: Bits16) -> NDArray[np.float64]:
    """Convert exactly to float64 [...]; subnormals read as +0."""
    return _AS_FLOAT64[bits]


def fp16_to_int(bits: Bits16, fraction_bits: int) -> Ints:
    """Return FP16 values [...] in units of 2**-fraction_bits, rounded to nearest even."""
    return np.rint(_AS_FLOAT64[bits] * 2.0**fraction_bits).astype(np.int64)


def flush_fp16(bits: Bits16) -> Bits16:
    """Replace subnormals and -0 by +0."""
    return np.where(bits & 0x7C00, bits, 0).astype(np.uint16)


def fp16_to_fp32(bits: Bits16) -> Floats32:
    """Convert exactly; subnormals read as +0."""
    return flush_fp16(bits).view(np.float16).astype(np.float32)


def fp32_to_fp16(values: Floats32, rounding: Rounding) -> tuple[Bits16, bool]:
    """Round FP32 [...] to FP16 patterns [...]; also say whether any value saturated.

    The significand is rounded to 11 bits first, as if the exponent were unbounded; then results
    below 2**-14 flush to +0 and results above 65504 saturate to it.
    """
    values = np.asarray(values, np.float32)
    # The smallest magnitude that rounds to 2**-14: ties go to the even significand, upwards.
    smallest = np.float32(2**-14 - 2**-26)
    if rounding is Rounding.TOWARD_ZERO:
        kept = 0xFFFFFFFF << (FP32_SIGNIFICAND_BITS - FP16_SIGNIFICAND_BITS) & 0xFFFFFFFF
        values = (values.view(np.uint32) & np.uint32(kept)).view(np.float32)
        smallest = np.float32(2**-14)
    magnitude = np.abs(values)
    with np.errstate(over="ignore"):
        bits = values.astype(np.float16).view(np.uint16)
    bits = np.where(magnitude < smallest, np.uint16(0), bits)
    infinite = bits & 0x7FFF == 0x7C00
    if not infinite.any():
        return bits, False
    return np.where(infinite, (bits & 0x8000) | FP16_LARGEST, bits).astype(np.uint16), True


def round_shift(magnitude: Ints, shift: Any, rounding: Rounding) -> Ints:
    """Shift non-negative integers right by `shift` (array or int, 0..62) and round.

    Nearest even or toward zero.
    """
    magnitude = np.asarray(magnitude, np.int64)
    shift = np.asarray(shift, np.int64)
    kept: Ints = magnitude >> shift
    if rounding is Rounding.TOWARD_ZERO:
        return kept
    remainder = magnitude - (kept << shift)
    half = (np.int64(1) << shift) >> 1
    up = (remainder > half) | ((remainder == half) & (kept & 1 == 1) & (shift > 0))
    rounded: Ints = kept + up
    return rounded


def align_block(bits: Bits16, magnitude_bits: int) -> tuple[Ints, Ints]:
    """Align FP16 patterns [..., n] to the largest exponent along the last axis.

    Returns integers [..., n] with |a| < 2**magnitude_bits and the block's biased exponent [...]:
    value = a * 2**(exponent - FP16_BIAS - magnitude_bits + 1), rounded to nearest even. Zeros do
    not take part in the maximum; a block of zeros has exponent 0.
    """
    reference = _EXPONENT[bits].max(axis=-1)
    return align_to(bits, reference[..., None], magnitude_bits), reference


def align_to(bits: Bits16, reference: Ints, magnitude_bits: int) -> Ints:
    """Align FP16 patterns [...] to a given biased exponent (broadcast), no operand's above it.

    Returns integers [...]: value = a * 2**(reference - FP16_BIAS - magnitude_bits + 1), rounded to
    nearest even. The largest exponent keeps all its bits, so rounding never carries out.
    """
    # Exact in float64: scaling moves the exponent alone, and rint rounds to nearest even.
    scale = np.ldexp(1.0, FP16_BIAS + magnitude_bits - 1 - reference)
    aligned: Ints = np.rint(_AS_FLOAT64[bits] * scale).astype(np.int64)
    return aligned


def fixed_to_fp32(value: Ints, exponent: Ints | int) -> Floats32:
    """Return value * 2**exponent [...] in FP32, the integer rounded to nearest even once."""
    return np.ldexp(np.asarray(value, np.int64).astype(np.float32), exponent).astype(np.float32)
