"""What every part of the flow needs from a trained model, and the names of its tensors.

Names are Hugging Face's, without the ``.weight`` or ``.bias`` only where a matrix is named as a
whole. Rows of Q and K are in Hugging Face's order: the two elements that the rotary embedding
turns together are head_dim / 2 rows apart.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hwroute.policy import RoutingPolicy
from hwroute.policy_terms import Source
from hwroute.shape import ModelShape

Floats = NDArray[np.float32]

EMBEDDING = "model.embed_tokens.weight"
NORM = "model.norm.weight"
HEAD = "lm_head.weight"
ROUTER_PREFIX = {"attention": "attn_router", "ffn": "ffn_router", "layer": "layer_router"}
"""How the router of a policy's site is called in a layer."""


def groups_of(columns: int, group: int) -> int:
    """Return the groups of `group` columns that hold `columns`, the last one perhaps shorter."""
    return -(-columns // group)


@dataclass(frozen=True, kw_only=True)
class Int4Weights:
    """A matrix on the INT4 grid: ``values * scale`` of the value's group.

    Parameters
    ----------
    values
        int8 [out, in], from -8 to 7.
    scales
        FP16 patterns, uint16 [out, ceil(in / group)], positive and normal.
    group
        Columns that share a scale; the last group is shorter where it does not divide `in`.
    """

    values: NDArray[np.int8]
    scales: NDArray[np.uint16]
    group: int

    def __post_init__(self) -> None:
        if self.values.dtype != np.int8 or self.values.ndim != 2:
            raise TypeError(
                f"values must be int8 [out, in], not {self.values.dtype} {self.values.shape}"
            )
        if self.values.size and not -8 <= self.values.min() <= self.values.max() <= 7:
            raise ValueError("values must be from -8 to 7")
        rows, columns = self.values.shape
        scales = self.scales
        if scales.dtype != np.uint16 or scales.ndim != 2 or scales.shape[0] != rows:
            raise TypeError(
                f"scales must be uint16 [{rows}, groups], not {scales.dtype} {scales.shape}"
            )
        if type(self.group) is not int or self.group < 1:
            raise ValueError(f"group must be a positive int, not {self.group!r}")
        if scales.shape[1] != groups_of(columns, self.group):
            raise ValueError(
                f"scales must have {groups_of(columns, self.group)} groups for {columns} columns "
                f"in groups of {self.group}, not {scales.shape[1]}"
            )

    def dequantised(self) -> Floats:
        """Return float32 [out, in]; every product of an INT4 and an FP16 value is exact."""
        scales = self.scales.view(np.float16).astype(np.float32)
        repeated = np.repeat(scales, self.group, axis=1)[:, : self.values.shape[1]]
        return self.values.astype(np.float32) * repeated


class Tokenizer(Protocol):
    """Text to token ids and back."""

    def encode(self, text: str) -> list[int]:
        """Return the ids of `text`."""
        ...

    def decode(self, ids: list[int]) -> str:
        """Return the text of `ids`."""
        ...


class Checkpoint(Protocol):
    """A trained model: shape, routing, weights."""

    @property
    def name(self) -> str:
        """What reports call it."""
        ...

    @property
    def shape(self) -> ModelShape:
        """Dimensions and constants."""
        ...

    @property
    def policy(self) -> RoutingPolicy:
        """The routing that its routers were trained for."""
        ...

    @property
    def tokenizer(self) -> Tokenizer | None:
        """The tokenizer, or None where prompts are given as ids."""
        ...

    @property
    def hash(self) -> str:
        """SHA-256 over the files, in hexadecimal."""
        ...

    def tensor(self, name: str) -> Floats:
        """Return a tensor of the unquantised model, float32."""
        ...

    def int4(self, name: str) -> Int4Weights:
        """Return a matrix of `matrix_shapes` on the INT4 grid."""
        ...

    def fp16(self, name: str) -> NDArray[np.uint16]:
        """Return, as FP16 patterns, a tensor that the machine keeps in FP16.

        These are the embedding, the norms, the biases and the routers.
        """
        ...


def layer_prefix(layer: int) -> str:
    """Return the start of the names of one layer's tensors."""
    return f"model.layers.{layer}."


def matrix_shapes(shape: ModelShape) -> dict[str, tuple[int, int]]:
    """Return name and [out, in] of every matrix that the machine keeps in INT4.

    The head is among them also where the model ties it to the embedding: the table that tokens are
    looked up in stays FP16, and the product reads its own INT4 copy.
    """
    kinds = {
        "self_attn.q_proj.weight": (shape.q_dim, shape.dim),
        "self_attn.k_proj.weight": (shape.kv_dim, shape.dim),
        "self_attn.v_proj.weight": (shape.kv_dim, shape.dim),
        "self_attn.o_proj.weight": (shape.dim, shape.q_dim),
        "mlp.gate_proj.weight": (shape.ffn_dim, shape.dim),
        "mlp.up_proj.weight": (shape.ffn_dim, shape.dim),
        "mlp.down_proj.weight": (shape.dim, shape.ffn_dim),
    }
    names = {
        layer_prefix(layer) + kind: size
        for layer in range(shape.layers)
        for kind, size in kinds.items()
    }
    return names | {HEAD: (shape.vocab, shape.dim)}


def vector_shapes(shape: ModelShape) -> dict[str, tuple[int, ...]]:
    """Return name and shape of the embedding, the norms and the biases of Q, K and V."""
    kinds: dict[str, tuple[int, ...]] = {
        "input_layernorm.weight": (shape.dim,),
        "post_attention_layernorm.weight": (shape.dim,),
    }
    if shape.qkv_bias:
        kinds["self_attn.q_proj.bias"] = (shape.q_dim,)
        kinds["self_attn.k_proj.bias"] = (shape.kv_dim,)
        kinds["self_attn.v_proj.bias"] = (shape.kv_dim,)
    names = {
        layer_prefix(layer) + kind: size
        for layer in range(shape.layers)
        for kind, size in kinds.items()
    }
    return {EMBEDDING: (shape.vocab, shape.dim), **names, NORM: (shape.dim,)}


def router_shapes(shape: ModelShape, policy: RoutingPolicy) -> dict[str, tuple[int, ...]]:
    """Return name and shape of the tensors of every router; 0 stands for a width left open.

    One linear is ``<router>.weight`` [logits, dim], and ``<router>.bias`` [logits] if it has one.
    Two are ``<router>.0.weight`` [hidden, dim] and ``<router>.1.weight`` [logits, hidden], their
    biases beside them, and ``<router>.norm.weight`` [hidden] between. Layers in which an override
    executes every token have no router. Expert lists, groups and scalar features are left out:
    their tensors are those of the method's own checkpoints.
    """
    names: dict[str, tuple[int, ...]] = {}
    for site_name, site in policy.sites():
        router = site.router
        if router is None or site.groups is not None or router.source is Source.SCALARS:
            continue
        parts: dict[str, tuple[int, ...]] = {"weight": (site.logits, shape.dim)}
        biases: dict[str, tuple[int, ...]] = {"bias": (site.logits,)}
        if router.linears == 2:
            parts = {"0.weight": (0, shape.dim), "1.weight": (site.logits, 0)}
            biases = {"0.bias": (0,), "1.bias": (site.logits,)}
        if router.rmsnorm:
            parts["norm.weight"] = (0,)
        for layer in range(site.overrides.first_layers, shape.layers):
            start = f"{layer_prefix(layer)}{ROUTER_PREFIX[site_name]}."
            names |= {start + part: size for part, size in parts.items()}
            names |= {start + part: size for part, size in biases.items() if router.bias}
    return names
