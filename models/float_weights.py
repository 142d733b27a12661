"""The tensors of a checkpoint as the float reference holds them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hwroute.checkpoint import (
    EMBEDDING,
    HEAD,
    NORM,
    ROUTER_PREFIX,
    Checkpoint,
    layer_prefix,
    matrix_shapes,
    router_shapes,
)

Array = NDArray[Any]
WeightSource = Literal["float", "int4"]

MATRIX_FIELDS = {
    "q": "self_attn.q_proj.weight",
    "k": "self_attn.k_proj.weight",
    "v": "self_attn.v_proj.weight",
    "o": "self_attn.o_proj.weight",
    "gate": "mlp.gate_proj.weight",
    "up": "mlp.up_proj.weight",
    "down": "mlp.down_proj.weight",
}
"""How the matrices of `LayerWeights` are called in a checkpoint, after the layer's prefix."""


@dataclass(frozen=True, kw_only=True)
class LayerWeights:
    """One layer; matrices are [out, in], biases [out], norms [dim].

    Parameters
    ----------
    q_bias, k_bias, v_bias
        Zeros where the model has none.
    routers
        Tensors of each router by site ("attention", "ffn", "layer") and by the end of their name,
        such as ``weight`` or ``0.bias``; no entry where the layer has no router.
    """

    attention_norm: Array
    q: Array
    k: Array
    v: Array
    o: Array
    q_bias: Array
    k_bias: Array
    v_bias: Array
    ffn_norm: Array
    gate: Array
    up: Array
    down: Array
    routers: dict[str, dict[str, Array]]


@dataclass(frozen=True, kw_only=True)
class FloatWeights:
    """A whole model: embedding and head [vocab, dim], last norm [dim], layers."""

    embedding: Array
    norm: Array
    head: Array
    layers: tuple[LayerWeights, ...]


def load_float_weights(checkpoint: Checkpoint, source: WeightSource, dtype: type) -> FloatWeights:
    """Read all weights.

    Parameters
    ----------
    checkpoint
        Where from.
    source
        "float" reads the unquantised model; "int4" the dequantised INT4 matrices and, for
        everything else, the FP16 tensors beside them: what the machine computes with.
    dtype
        Of the arrays returned.

    Raises
    ------
    ValueError
        Another source.
    InputError
        What the checkpoint says about a tensor.
    """
    if source not in ("float", "int4"):
        raise ValueError(f"source must be 'float' or 'int4', not {source!r}")
    matrices = matrix_shapes(checkpoint.shape)

    def read(name: str) -> Array:
        if source == "float":
            return checkpoint.tensor(name).astype(dtype)
        if name in matrices:
            return checkpoint.int4(name).dequantised().astype(dtype)
        return checkpoint.fp16(name).view(np.float16).astype(dtype)

    layers = range(checkpoint.shape.layers)
    return FloatWeights(
        embedding=read(EMBEDDING),
        norm=read(NORM),
        head=read(HEAD),
        layers=tuple(_layer(checkpoint, layer, read, dtype) for layer in layers),
    )


def _layer(
    checkpoint: Checkpoint, layer: int, read: Callable[[str], Array], dtype: type
) -> LayerWeights:
    shape, prefix = checkpoint.shape, layer_prefix(layer)

    def bias(name: str, size: int) -> Array:
        if shape.qkv_bias:
            return read(f"{prefix}self_attn.{name}.bias")
        return np.zeros(size, dtype)

    return LayerWeights(
        attention_norm=read(prefix + "input_layernorm.weight"),
        q_bias=bias("q_proj", shape.q_dim),
        k_bias=bias("k_proj", shape.kv_dim),
        v_bias=bias("v_proj", shape.kv_dim),
        ffn_norm=read(prefix + "post_attention_layernorm.weight"),
        routers=_routers(checkpoint, prefix, read),
        **{field: read(prefix + name) for field, name in MATRIX_FIELDS.items()},
    )


def _routers(
    checkpoint: Checkpoint, prefix: str, read: Callable[[str], Array]
) -> dict[str, dict[str, Array]]:
    routers: dict[str, dict[str, Array]] = {}
    for name in router_shapes(checkpoint.shape, checkpoint.policy):
        for site, router in ROUTER_PREFIX.items():
            start = f"{prefix}{router}."
            if name.startswith(start):
                routers.setdefault(site, {})[name.removeprefix(start)] = read(name)
    return routers
