"""Elementary functions, bit for bit as the machine evaluates them (tables: hwroute.functions)."""

import numpy as np

from hwroute.config import Rounding
from hwroute.functions import (
    EXP2,
    EXPONENT_FRACTION_BITS,
    LOG2_E,
    LOG2_E_BITS,
    RECIPROCAL,
    RSQRT,
    Segments,
)
from hwroute.numerics import (
    FP16_BIAS,
    FP16_SIGNIFICAND_BITS,
    FP32_BIAS,
    FP32_SIGNIFICAND_BITS,
    PROBABILITY_EXPONENT,
    Bits16,
    Floats32,
    Ints,
    decode_fp16,
    fp16_to_fp32,
    fp16_to_int,
    fp32_to_fp16,
    round_shift,
)

LARGEST_EXPONENT = 100 << EXPONENT_FRACTION_BITS
"""Arguments of exp2 are cut off here; 2**-100 is far below every FP16."""

_BASE = {id(table): np.array(table.base, np.int64) for table in (EXP2, RECIPROCAL, RSQRT)}
_SLOPE = {id(table): np.array(table.slope, np.int64) for table in (EXP2, RECIPROCAL, RSQRT)}


def evaluate(table: Segments, argument: Ints) -> Ints:
    """Return the 24-bit significands [...] for arguments [...] of index_bits + delta_bits bits."""
    index = argument >> table.delta_bits
    delta = argument & ((1 << table.delta_bits) - 1)
    result: Ints = _BASE[id(table)][index] + ((_SLOPE[id(table)][index] * delta) >> table.shift)
    return result


def exp2_negative(argument: Ints) -> Floats32:
    """Return 2**-t as FP32 for t = argument * 2**-16 >= 0, cut off at t = 100."""
    limited = np.minimum(argument, LARGEST_EXPONENT)
    fraction = -limited & ((1 << EXPONENT_FRACTION_BITS) - 1)
    exponent = -((limited + fraction) >> EXPONENT_FRACTION_BITS)
    return _pack(evaluate(EXP2, fraction), exponent)


def reciprocal(values: Floats32) -> Floats32:
    """Return 1/y in FP32 for y > 0 [...]."""
    exponent, fraction = _split(values)
    return _pack(evaluate(RECIPROCAL, fraction), -exponent - 1)


def rsqrt(values: Floats32) -> Floats32:
    """Return 1/sqrt(y) in FP32 for y > 0 [...]."""
    exponent, fraction = _split(values)
    parity = exponent & 1
    return _pack(evaluate(RSQRT, (parity << 23) | fraction), -(exponent >> 1) - 1)


def silu(bits: Bits16) -> Floats32:
    """Return x * sigmoid(x) in FP32 for FP16 x [...].

    With E = 2**-(|x| log2(e)): x / (1 + E) for x >= 0, and that times E for x < 0.
    """
    negative, exponent, significand = decode_fp16(bits)
    # |x| = significand * 2**(exponent - 25); the argument of exp2 has 16 fraction bits.
    scale = FP16_BIAS + FP16_SIGNIFICAND_BITS - 1 + LOG2_E_BITS - EXPONENT_FRACTION_BITS
    up = np.maximum(exponent - scale, 0)
    down = np.maximum(scale - exponent, 0)
    argument = round_shift((significand * LOG2_E) << up, down, Rounding.NEAREST_EVEN)
    power = exp2_negative(argument)
    positive = fp16_to_fp32(bits) * reciprocal(np.float32(1) + power)
    return np.where(negative == 1, positive * power, positive)


def probabilities(scores: Bits16, maximum: Ints) -> Bits16:
    """Return 2**(s - m) * 2**15 as FP16 for base-two scores s, m an integer (broadcast).

    The difference is taken in units of 2**-16, s rounded to nearest even; the result is rounded
    to nearest even and flushes to zero below 2**-14, that is for s < m - 29. A score above m, which
    the maximum left out, counts as m.
    """
    difference = (maximum << EXPONENT_FRACTION_BITS) - fp16_to_int(scores, EXPONENT_FRACTION_BITS)
    scaled = exp2_negative(np.maximum(difference, 0)) * np.float32(2**PROBABILITY_EXPONENT)
    return fp32_to_fp16(scaled, Rounding.NEAREST_EVEN)[0]


def _split(values: Floats32) -> tuple[Ints, Ints]:
    """Return unbiased exponents and 23-bit fractions [...] of positive FP32 values."""
    wide = np.asarray(values, np.float32).view(np.uint32).astype(np.int64)
    return (wide >> 23) - FP32_BIAS, wide & 0x7FFFFF


def _pack(significand: Ints, exponent: Ints) -> Floats32:
    """Return FP32 values of 24-bit significands in [2**23, 2**24) at unbiased exponents."""
    fraction = significand - (1 << (FP32_SIGNIFICAND_BITS - 1))
    return (((exponent + FP32_BIAS) << 23) | fraction).astype(np.uint32).view(np.float32)
