"""Operators of the float reference, in the precision of their operands."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwroute.policy_terms import Activation

Array = NDArray[Any]


def rms_norm(x: Array, weight: Array, eps: float) -> Array:
    """Return ``x / sqrt(mean(x * x) + eps) * weight`` over the last axis."""
    mean_square = np.mean(x * x, axis=-1, keepdims=True)
    normed: Array = x / np.sqrt(mean_square + x.dtype.type(eps)) * weight
    return normed


def sigmoid(x: Array) -> Array:
    """Return ``1 / (1 + exp(-x))`` without overflow on either side."""
    value: Array = np.exp(np.minimum(x, 0)) / (1 + np.exp(-np.abs(x)))
    return value


def silu(x: Array) -> Array:
    """Return ``x * sigmoid(x)``."""
    return x * sigmoid(x)


def gelu_tanh(x: Array) -> Array:
    """Return the tanh approximation of GELU (arXiv 1606.08415, section 2)."""
    inner = x.dtype.type(np.sqrt(2 / np.pi)) * (x + x.dtype.type(0.044715) * x * x * x)
    value: Array = x.dtype.type(0.5) * x * (1 + np.tanh(inner))
    return value


def softmax(x: Array) -> Array:
    """Return the softmax over the last axis; -inf has probability 0, a row needs one finite."""
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    shares: Array = powers / powers.sum(axis=-1, keepdims=True)
    return shares


def activate(x: Array, activation: Activation) -> Array:
    """Apply an activation of a router."""
    if activation is Activation.RELU:
        return np.maximum(x, 0)
    if activation is Activation.SILU:
        return silu(x)
    return gelu_tanh(x) if activation is Activation.GELU_TANH else x


def split_heads(x: Array, head_dim: int) -> Array:
    """Return [windows, heads, tokens, head_dim] of [windows, tokens, heads * head_dim]."""
    windows, tokens, width = x.shape
    return x.reshape(windows, tokens, width // head_dim, head_dim).swapaxes(1, 2)


def attention(q: Array, k: Array, v: Array, visible: Array) -> Array:
    """Attend with grouped queries.

    Parameters
    ----------
    q
        [windows, heads, tokens, head_dim]; head h reads key head ``h // (heads / kv_heads)``.
    k, v
        [windows, kv_heads, keys, head_dim].
    visible
        bool [windows, tokens, keys]; every row needs one True.

    Returns
    -------
    [windows, tokens, heads * head_dim].
    """
    windows, heads, tokens, head_dim = q.shape
    kv_heads = k.shape[1]
    grouped = q.reshape(windows, kv_heads, heads // kv_heads, tokens, head_dim)
    scores = grouped @ k[:, :, None].swapaxes(-1, -2) / q.dtype.type(np.sqrt(head_dim))
    scores = np.where(visible[:, None, None], scores, q.dtype.type(-np.inf))
    mixed = (softmax(scores) @ v[:, :, None]).reshape(windows, heads, tokens, head_dim)
    return mixed.swapaxes(1, 2).reshape(windows, tokens, heads * head_dim)
