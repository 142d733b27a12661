"""Elementary functions over every FP16 input, and over every argument of their tables."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwroute.config import Rounding
from hwroute.functions import EXPONENT_FRACTION_BITS
from hwroute.models.ops.functions import (
    exp2_negative,
    probabilities,
    reciprocal,
    rsqrt,
    silu,
)
from hwroute.models.study.variants import Floats, round_to_fp16
from hwroute.numerics import (
    FP16_SIGNIFICAND_BITS,
    PROBABILITY_EXPONENT,
    Bits16,
    Floats32,
    fp16_to_float64,
    fp16_to_fp32,
    fp16_to_int,
    fp32_to_fp16,
)

MAXIMA = (0, 1, 9, -4)
"""Integer maxima of rows for which probabilities are swept."""
SMALLEST_NORMAL = 2.0**-14

STATED_ULP = {"exp2": 0.513, "reciprocal": 0.502, "rsqrt": 0.502, "silu": 0.510}
"""Largest error after rounding to FP16, in units in the last place; rounding alone has 0.5."""
STATED_RELATIVE = {"exp2": 9.0e-6, "reciprocal": 2.0e-6, "rsqrt": 3.0e-6, "silu": 1.4e-5}
"""Largest relative error of the FP32 result."""


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """What one function does over one set of inputs.

    Parameters
    ----------
    function
        Its name in `STATED_ULP` and `STATED_RELATIVE`.
    inputs
        Which inputs.
    count
        How many of them.
    relative
        Largest relative error of the FP32 result, where the exact one is at least 2**-14.
    ulp
        Largest error of the FP16 result in its unit in the last place, there too; None where
        results stay FP32.
    misrounded
        FP16 results that are not the exact one rounded to nearest even and flushed below 2**-14.
    """

    function: str
    inputs: str
    count: int
    relative: float
    ulp: float | None = None
    misrounded: int | None = None


def finite_fp16() -> Bits16:
    """Return all 63,488 finite FP16 patterns; subnormals, which read as +0, are among them."""
    patterns: Bits16 = np.arange(1 << 16, dtype=np.int64).astype(np.uint16)
    finite: Bits16 = patterns[(patterns & 0x7C00) != 0x7C00]
    return finite


def sweep_all() -> list[Sweep]:
    """Sweep every function."""
    return [*map(_sweep_exp2, MAXIMA), *_sweep_tables(), *_sweep_inverses(), _sweep_silu()]


def _sweep_exp2(maximum: int) -> Sweep:
    scores = finite_fp16()
    real = fp16_to_float64(scores)
    scores, real = scores[real <= maximum], real[real <= maximum]
    # As `probabilities` takes the difference, before its rounding to FP16.
    difference = (maximum << EXPONENT_FRACTION_BITS) - fp16_to_int(scores, EXPONENT_FRACTION_BITS)
    scale = 2.0**PROBABILITY_EXPONENT
    return _compare(
        "exp2",
        f"scores s <= m = {maximum}",
        np.exp2(real - maximum) * scale,
        exp2_negative(difference).astype(np.float64) * scale,
        probabilities(scores, np.array(maximum)),
    )


def _sweep_inverses() -> list[Sweep]:
    patterns = finite_fp16()
    positive = patterns[fp16_to_float64(patterns) > 0]
    real = fp16_to_float64(positive)
    functions: dict[str, tuple[Callable[[Floats32], Floats32], Floats]] = {
        "reciprocal": (reciprocal, 1 / real),
        "rsqrt": (rsqrt, 1 / np.sqrt(real)),
    }
    return [
        _compare_rounded(name, "FP16 y > 0", exact, function(fp16_to_fp32(positive)))
        for name, (function, exact) in functions.items()
    ]


def _sweep_silu() -> Sweep:
    patterns = finite_fp16()
    real = fp16_to_float64(patterns)
    # x * sigmoid(x), without an overflow of exp at large negative x.
    power = np.exp(-np.abs(real))
    exact = real * np.where(real < 0, power, 1) / (1 + power)
    return _compare_rounded("silu", "FP16 x", exact, silu(patterns))


def _sweep_tables() -> list[Sweep]:
    """Evaluate the tables at every argument of one period: no other one has another error."""
    unit = 2.0**-EXPONENT_FRACTION_BITS
    fractions = np.arange(1 << EXPONENT_FRACTION_BITS)
    # Every FP32 in [1, 4): two octaves, the period of the root.
    octaves = (np.float32(1).view(np.uint32) + np.arange(1 << 24, dtype=np.uint32)).view(np.float32)
    return [
        Sweep(
            function="exp2",
            inputs="-t, every multiple of 2**-16 in [0, 1)",
            count=len(fractions),
            relative=_largest(exp2_negative, lambda t: np.exp2(-t * unit), fractions),
        ),
        Sweep(
            function="reciprocal",
            inputs="every FP32 in [1, 2)",
            count=len(octaves) // 2,
            relative=_largest(reciprocal, lambda y: 1 / y, octaves[: len(octaves) // 2]),
        ),
        Sweep(
            function="rsqrt",
            inputs="every FP32 in [1, 4)",
            count=len(octaves),
            relative=_largest(rsqrt, lambda y: 1 / np.sqrt(y), octaves),
        ),
    ]


def _largest(
    function: Callable[[Any], Floats32], exact: Callable[[Floats], Floats], arguments: NDArray[Any]
) -> float:
    """Return the largest relative error over `arguments`, in pieces that fit a core's cache."""
    pieces = np.array_split(arguments, max(1, len(arguments) >> 16))
    return max(
        float(np.abs(function(piece) / exact(piece.astype(np.float64)) - 1).max())
        for piece in pieces
    )


def _compare_rounded(name: str, inputs: str, exact: Floats, result: Floats32) -> Sweep:
    bits, _ = fp32_to_fp16(result, Rounding.NEAREST_EVEN)
    return _compare(name, inputs, exact, result.astype(np.float64), bits)


def _compare(
    name: str, inputs: str, exact: Floats, wide: NDArray[np.float64], bits: Bits16
) -> Sweep:
    """Compare the FP32 results `wide` and their FP16 roundings `bits` with exact values."""
    rounded = fp16_to_float64(bits)
    normal = np.abs(exact) >= SMALLEST_NORMAL
    # frexp's significand is in [0.5, 1).
    unit = np.ldexp(1.0, np.frexp(exact[normal])[1] - FP16_SIGNIFICAND_BITS)
    wanted = round_to_fp16(exact, Rounding.NEAREST_EVEN)
    wanted = np.where(np.abs(wanted) < SMALLEST_NORMAL, 0.0, wanted)
    return Sweep(
        function=name,
        inputs=inputs,
        count=len(exact),
        relative=float(np.abs(wide[normal] / exact[normal] - 1).max()),
        ulp=float((np.abs(rounded - exact)[normal] / unit).max()),
        misrounded=int((rounded != wanted).sum()),
    )
