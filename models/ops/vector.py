"""Element-wise operators at unit boundaries: RMSNorm apply, rotary embedding, SwiGLU, residual.

Each computes in FP32, rounding to nearest even after every addition and multiplication, and rounds
its result to FP16 once. Every function returns the FP16 patterns and whether any value saturated.
"""

import numpy as np
from numpy.typing import NDArray

from hwroute.config import Rounding
from hwroute.models.ops.functions import reciprocal, rsqrt, silu
from hwroute.numerics import Bits16, Floats32, fp16_to_fp32, fp32_to_fp16

Rounded = tuple[Bits16, bool]


def normalise(
    x: Bits16,
    squares: Floats32,
    gain: Bits16,
    epsilon: float,
    rounding: Rounding,
    *,
    inverse: float | None = None,
) -> Rounded:
    """Return RMSNorm of x [rows, n] with its sums of squares [rows] and gain [n].

    r = rsqrt(squares * inverse + epsilon), then (x * r) * gain; inverse and epsilon are FP32
    constants. `inverse` is 1/n by default; for a part of a row it is that of the whole row.
    """
    mean = squares * np.float32(1 / x.shape[1] if inverse is None else inverse)
    scale = rsqrt(mean + np.float32(epsilon))
    return fp32_to_fp16(fp16_to_fp32(x) * scale[:, None] * fp16_to_fp32(gain), rounding)


def rotate(x: Bits16, cosine: Bits16, sine: Bits16, rounding: Rounding) -> Rounded:
    """Turn even/odd pairs of x [rows, heads, d] by the tables [rows, d/2].

    (a, b) becomes (a*c - b*s, b*c + a*s); each product and each sum is rounded in FP32. The table
    of queries carries the softmax scale, see `rotary_tables`.
    """
    c, s = fp16_to_fp32(cosine)[:, None, :], fp16_to_fp32(sine)[:, None, :]
    wide = fp16_to_fp32(x)
    a, b = wide[..., 0::2], wide[..., 1::2]
    turned = np.empty_like(wide)
    turned[..., 0::2] = a * c - b * s
    turned[..., 1::2] = b * c + a * s
    return fp32_to_fp16(turned, rounding)


def rotary_tables(angles: NDArray[np.float64], scale: float) -> tuple[Bits16, Bits16]:
    """Return FP16 cosines and sines of angles [...], times `scale`.

    The float64 products are rounded to FP32 and then to FP16, both to nearest even.

    scale is 1 for keys and log2(e)/sqrt(head_dim) for queries, so that scores are base-two
    exponents.
    """
    return (
        fp32_to_fp16((np.cos(angles) * scale).astype(np.float32), Rounding.NEAREST_EVEN)[0],
        fp32_to_fp16((np.sin(angles) * scale).astype(np.float32), Rounding.NEAREST_EVEN)[0],
    )


def swiglu(gate: Bits16, up: Bits16, rounding: Rounding) -> Rounded:
    """Return silu(gate) * up, both [rows, n]."""
    return fp32_to_fp16(silu(gate) * fp16_to_fp32(up), rounding)


def add(x: Bits16, y: Bits16, rounding: Rounding) -> Rounded:
    """Return x + y, both [rows, n]."""
    return fp32_to_fp16(fp16_to_fp32(x) + fp16_to_fp32(y), rounding)


def divide(mixed: Floats32, total: Floats32, rounding: Rounding) -> Rounded:
    """Return mixed [..., d] times the reciprocal of total [...]."""
    return fp32_to_fp16(mixed * reciprocal(total)[..., None], rounding)
