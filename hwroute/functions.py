"""Tables of the elementary functions: piecewise linear, shared by golden model and RTL.

A table splits one octave of the argument into equal segments. With `index` the leading fraction
bits of the argument and `delta` the remaining ones, the result's 24-bit significand is::

    base[index] + ((slope[index] * delta) >> shift)         # arithmetic shift, toward -infinity

which is one 18x18 multiplication. Coefficients come from 40-digit decimal arithmetic, so that no
platform's floating point can change a bit. docs/numerics.md lists the largest errors.
"""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal, localcontext

LOG2_E_BITS = 17
LOG2_E = 189_097
"""log2(e) in units of 2**-17, rounded to nearest."""
EXPONENT_FRACTION_BITS = 16
"""Fraction bits of the fixed-point argument of exp2."""


@dataclass(frozen=True, kw_only=True)
class Segments:
    """A piecewise linear function on [0, 1) with a result significand in [2**23, 2**24).

    Parameters
    ----------
    index_bits
        log2 of the number of segments.
    delta_bits
        Argument bits below the index.
    shift
        Binary point of the slope.
    base, slope
        One integer a segment: 24 bits unsigned, 18 bits signed.
    """

    index_bits: int
    delta_bits: int
    shift: int
    base: tuple[int, ...]
    slope: tuple[int, ...]


def _segments(
    function: Callable[[Decimal], Decimal], *, index_bits: int, delta_bits: int, shift: int
) -> Segments:
    """Fit `function`: [0, 1) -> [2**23, 2**24) by chords, moved by half their deviation."""
    count, step = 1 << index_bits, 1 << delta_bits
    base, slope = [], []
    for index in range(count):
        left, right = Decimal(index) / count, Decimal(index + 1) / count
        low, high = function(left), function(right)
        middle = function((left + right) / 2)
        gradient = int(((high - low) * (1 << shift) / step).to_integral_value())
        start = int((low - ((low + high) / 2 - middle) / 2).to_integral_value())
        last = start + ((gradient * (step - 1)) >> shift)
        start += max(0, (1 << 23) - min(start, last))
        start -= max(0, max(start, last) - ((1 << 24) - 1))
        assert -(1 << 17) <= gradient < 1 << 17
        base.append(start)
        slope.append(gradient)
    return Segments(
        index_bits=index_bits,
        delta_bits=delta_bits,
        shift=shift,
        base=tuple(base),
        slope=tuple(slope),
    )


def _exp2(fraction: Decimal) -> Decimal:
    return Decimal(2) ** fraction * 2**23


def _reciprocal(fraction: Decimal) -> Decimal:
    return 2**24 / (1 + fraction)


def _rsqrt(fraction: Decimal) -> Decimal:
    # The leading index bit is the parity of the exponent: [0, 0.5) is [1, 2), [0.5, 1) is [2, 4).
    argument = 1 + 2 * fraction if fraction < Decimal("0.5") else 4 * fraction
    return 2**24 / argument.sqrt()


with localcontext(prec=40):
    EXP2 = _segments(_exp2, index_bits=7, delta_bits=EXPONENT_FRACTION_BITS - 7, shift=9)
    """2**f for f in [0, 1): significand of a value in [1, 2)."""
    RECIPROCAL = _segments(_reciprocal, index_bits=8, delta_bits=15, shift=15)
    """1/(1+f) for a 23-bit fraction f: significand of a value in [0.5, 1)."""
    RSQRT = _segments(_rsqrt, index_bits=8, delta_bits=16, shift=17)
    """1/sqrt(x) for x in [1, 4), indexed by exponent parity and 7 fraction bits: in [0.5, 1)."""
