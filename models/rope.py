"""Rotary position embedding as Hugging Face computes it: element i turns with i + head_dim / 2."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwroute.shape import Llama3Scaling, ModelShape

Array = NDArray[Any]


def rotary_frequencies(shape: ModelShape) -> NDArray[np.float64]:
    """Return the angle of one step of position for every pair, radians, float64 [head_dim / 2].

    Pair i has ``theta ** (-2 i / head_dim)``, scaled as `scaled` says where the model asks for it.
    """
    exponents = np.arange(0, shape.head_dim, 2, dtype=np.float64) / shape.head_dim
    plain = shape.rope_theta**-exponents
    return plain if shape.rope_scaling is None else scaled(plain, shape.rope_scaling)


def scaled(plain: NDArray[np.float64], scaling: Llama3Scaling) -> NDArray[np.float64]:
    """Stretch slow frequencies as Llama 3.1 does.

    With ``turns = original_context * frequency / 2 pi``, the turns that a pair makes within the
    context of the pretraining: pairs with at least `high_freq_factor` turns are kept, pairs with at
    most `low_freq_factor` are divided by `factor`, and those between are blended linearly in their
    turns (transformers, `modeling_rope_utils`, "llama3").

    Parameters
    ----------
    plain
        float64 [pairs], radians a position.
    """
    turns = scaling.original_context * plain / (2 * math.pi)
    blend = (turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor)
    kept = np.clip(blend, 0.0, 1.0)
    return kept * plain + (1 - kept) * plain / scaling.factor


def rotary_tables(shape: ModelShape, positions: Array, dtype: type) -> tuple[Array, Array]:
    """Return cosines and sines, each [positions, head_dim / 2] of `dtype`, from float64 angles."""
    angles = positions[:, None].astype(np.float64) * rotary_frequencies(shape)
    return np.cos(angles).astype(dtype), np.sin(angles).astype(dtype)


def rotate(x: Array, cos: Array, sin: Array) -> Array:
    """Turn the pairs (i, i + head_dim / 2) of `x` [..., tokens, head_dim] by their angles."""
    low, high = np.split(x, 2, axis=-1)
    return np.concatenate([low * cos - high * sin, high * cos + low * sin], axis=-1)
