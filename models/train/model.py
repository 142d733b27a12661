"""Llama-style model whose sub-layers a token may skip (SkipGPT)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from hwroute.models.train.config import ATTENTION, EXECUTE, FFN, ModelShape
from hwroute.models.train.quantize import fake_quantize

INIT_STD = 0.04

Decide = Callable[[int, Tensor], Tensor]
"""From a sub-layer and router logits [batch, time, 2] to gates [batch, time], 1 = execute."""


class Output(NamedTuple):
    """What a forward pass returns.

    Attributes
    ----------
    logits : Tensor, float32 [batch, time, vocab]
    gates : Tensor, float32 [sublayers, batch, time]
        1 where a token executed the sub-layer.
    """

    logits: Tensor
    gates: Tensor


class Linear(nn.Linear):
    """Product without bias which can round its weight to the INT4 grid first."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, bias=False)
        self.int4 = False

    def forward(self, x: Tensor) -> Tensor:
        """Multiply `x` [..., in] by the weight."""
        return functional.linear(x, fake_quantize(self.weight) if self.int4 else self.weight)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn `x` [batch, heads, time, head_dim] by its positions; halves are paired."""
    low, high = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-high, low), dim=-1) * sin


class Attention(nn.Module):
    """Causal attention with grouped queries."""

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.shape = shape
        self.q_proj = Linear(shape.dim, shape.heads * shape.head_dim)
        self.k_proj = Linear(shape.dim, shape.kv_heads * shape.head_dim)
        self.v_proj = Linear(shape.dim, shape.kv_heads * shape.head_dim)
        self.o_proj = Linear(shape.heads * shape.head_dim, shape.dim)

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (-1, self.shape.head_dim)).transpose(1, 2)

    def keys_values(self, n: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Compute rotated keys and values [2, batch, kv_heads, time, head_dim] of `n`."""
        keys = rotate(self._split(self.k_proj(n)), cos, sin)
        return torch.stack((keys, self._split(self.v_proj(n))))

    def forward(self, n: Tensor, kv: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Attend from normed tokens `n` [batch, time, dim] to the keys and values `kv`."""
        queries = rotate(self._split(self.q_proj(n)), cos, sin)
        keys, values = kv.repeat_interleave(self.shape.heads // self.shape.kv_heads, dim=2)
        mixed = functional.scaled_dot_product_attention(queries, keys, values, is_causal=True)
        out: Tensor = self.o_proj(mixed.transpose(1, 2).flatten(2))
        return out


class FeedForward(nn.Module):
    """SwiGLU network."""

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.gate_proj = Linear(shape.dim, shape.hidden)
        self.up_proj = Linear(shape.dim, shape.hidden)
        self.down_proj = Linear(shape.hidden, shape.dim)

    def forward(self, n: Tensor) -> Tensor:
        """Map normed tokens `n` [batch, time, dim]."""
        out: Tensor = self.down_proj(functional.silu(self.gate_proj(n)) * self.up_proj(n))
        return out


class Layer(nn.Module):
    """Attention and feed-forward network, each behind a router on the un-normed residual."""

    def __init__(self, index: int, shape: ModelShape, routers: bool, dropout: float) -> None:
        super().__init__()
        self.index, self.shape = index, shape
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        self.input_layernorm = nn.RMSNorm(shape.dim, eps=shape.norm_eps)
        self.self_attn = Attention(shape)
        self.post_attention_layernorm = nn.RMSNorm(shape.dim, eps=shape.norm_eps)
        self.mlp = FeedForward(shape)
        for kind, name in ((ATTENTION, "attn_router"), (FFN, "ffn_router")):
            if routers and shape.routed(2 * index + kind):
                setattr(self, name, nn.Linear(shape.dim, 2, bias=False))

    def _gate(self, kind: int, x: Tensor, decide: Decide | None) -> Tensor:
        sublayer = 2 * self.index + kind
        if decide is None or not self.shape.routed(sublayer):
            return x.new_ones(x.shape[:-1])
        router = self.attn_router if kind == ATTENTION else self.ffn_router
        return decide(sublayer, router(x))

    def forward(
        self, x: Tensor, kv: Tensor | None, cos: Tensor, sin: Tensor, decide: Decide | None
    ) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
        """Run both sub-layers.

        Parameters
        ----------
        x : Tensor, [batch, time, dim]
            Residual stream.
        kv : Tensor or None, [2, batch, kv_heads, time, head_dim]
            Keys and values as the layer below left them.
        cos, sin : Tensor, [time, head_dim]
            Rotary factors.
        decide : Decide or None
            Turns router logits into gates; None executes everything.

        Returns
        -------
        x, kv : Tensor
            As above, after this layer.
        gates : tuple of Tensor, [batch, time] each
            Gates of the attention and of the feed-forward network.
        """
        attn_gate = self._gate(ATTENTION, x, decide)
        n = self.input_layernorm(x)
        fresh = self.self_attn.keys_values(n, cos, sin)
        if kv is None or decide is None or not self.shape.kv_reuse:
            kv = fresh
        else:
            kv = kv + attn_gate[:, None, :, None] * (fresh - kv)
        x = x + attn_gate[..., None] * self.dropout(self.self_attn(n, kv, cos, sin))
        ffn_gate = self._gate(FFN, x, decide)
        n = self.post_attention_layernorm(x)
        x = x + ffn_gate[..., None] * self.dropout(self.mlp(n))
        return x, kv, (attn_gate, ffn_gate)


class Backbone(nn.Module):
    """Everything but the head, under the names of Hugging Face's Llama."""

    def __init__(self, shape: ModelShape, routers: bool, dropout: float) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(shape.vocab, shape.dim)
        self.layers = nn.ModuleList(Layer(i, shape, routers, dropout) for i in range(shape.layers))
        self.norm = nn.RMSNorm(shape.dim, eps=shape.norm_eps)


class RoutedLlama(nn.Module):
    """Language model with the head tied to the embedding.

    Parameters
    ----------
    shape : ModelShape
        Dimensions.
    routers : bool
        Whether the model has routers.
    dropout : float
        Fraction of every sub-layer's outputs zeroed in training.

    Attributes
    ----------
    head : Tensor or None, float32 [vocab, dim]
        Weight of the head where it differs from the embedding.
    """

    def __init__(self, shape: ModelShape, *, routers: bool, dropout: float = 0.0) -> None:
        super().__init__()
        self.shape, self.routers, self.int4 = shape, routers, False
        self.head: Tensor | None = None
        self.model = Backbone(shape, routers, dropout)
        for name, weight in self.named_parameters():
            if weight.dim() == 2:
                deep = name.endswith(("o_proj.weight", "down_proj.weight"))
                nn.init.normal_(weight, std=INIT_STD / (shape.sublayers**0.5 if deep else 1.0))
        exponents = torch.arange(0, shape.head_dim, 2).float() / shape.head_dim
        angles = torch.outer(torch.arange(shape.context).float(), shape.rope_theta**-exponents)
        self.register_buffer("angles", torch.cat((angles, angles), dim=-1), persistent=False)

    def set_int4(self, enabled: bool) -> None:
        """Choose whether every product, the head's too, rounds its weight to the INT4 grid."""
        self.int4 = enabled
        for module in self.modules():
            if isinstance(module, Linear):
                module.int4 = enabled

    def routers_by_sublayer(self) -> Iterator[tuple[int, nn.Linear]]:
        """Yield each router with the index of its sub-layer."""
        for index, layer in enumerate(self.model.layers):
            for kind, name in ((ATTENTION, "attn_router"), (FFN, "ffn_router")):
                if hasattr(layer, name):
                    yield 2 * index + kind, getattr(layer, name)

    def forward(self, tokens: Tensor, decide: Decide | None = None) -> Output:
        """Predict the next token at every position.

        Parameters
        ----------
        tokens : Tensor, int64 [batch, time]
            At most ``shape.context`` tokens a row.
        decide : Decide or None
            Turns router logits into gates; None executes everything.
        """
        angles = self.get_buffer("angles")[: tokens.shape[1]]
        cos, sin = angles.cos(), angles.sin()
        x, kv, gates = self.model.embed_tokens(tokens), None, []
        for layer in self.model.layers:
            x, kv, pair = layer(x, kv, cos, sin, decide)
            gates.extend(pair)
        head = self.model.embed_tokens.weight if self.head is None else self.head
        head = fake_quantize(head) if self.int4 else head
        return Output(functional.linear(self.model.norm(x), head), torch.stack(gates))


def argmax(_sublayer: int, logits: Tensor) -> Tensor:
    """Decide as inference does: execute unless the other logit is larger."""
    return (logits[..., EXECUTE] >= logits[..., 1 - EXECUTE]).float()
