"""Shape of the zoo's model and hyperparameters of its training."""

from __future__ import annotations

from dataclasses import dataclass, replace

EXECUTE = 0
"""Router output which stands for executing; argmax decides and a tie executes."""

ATTENTION, FFN = 0, 1
"""Kinds of sub-layer. Sub-layer ``s`` is layer ``s // 2``, kind ``s % 2``."""


@dataclass(frozen=True, kw_only=True)
class ModelShape:
    """Dimensions of the Llama-style model.

    Parameters
    ----------
    vocab : int
        Token values; a token is a 7-bit ASCII byte.
    dim, hidden : int
        Widths of the residual stream and of the SwiGLU feed-forward network.
    layers, heads, kv_heads, head_dim : int
        Depth, query heads, key/value heads and width of one head.
    context : int
        Tokens in a window.
    norm_eps, rope_theta : float
        Constants of RMSNorm and of the rotary embedding.
    kv_reuse : bool
        Whether a token which skips a layer's attention keeps the keys and values of the last layer
        it executed, rather than having them computed in every layer.
    """

    vocab: int = 128
    dim: int = 128
    hidden: int = 384
    layers: int = 6
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 32
    context: int = 256
    norm_eps: float = 1e-5
    rope_theta: float = 10000.0
    kv_reuse: bool = True

    def __post_init__(self) -> None:
        if self.heads % self.kv_heads:
            raise ValueError(f"Heads must be a multiple of kv_heads, not {self.heads!r}")
        if self.head_dim % 2:
            raise ValueError(f"Head width must be even, not {self.head_dim!r}")

    @property
    def sublayers(self) -> int:
        """Sub-layers in the model, routed or not."""
        return 2 * self.layers

    def routed(self, sublayer: int) -> bool:
        """Tell whether a sub-layer has a router: all but the first layer's attention."""
        return sublayer != ATTENTION


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Hyperparameters of one stage.

    Parameters
    ----------
    routers : bool
        Whether the stage trains routers, with the INT4 grid in the loop.
    kv_reuse : bool
        Rule for the keys and values of skipped tokens, see `ModelShape`.
    steps, rows : int
        Optimiser steps, and windows of ``context`` tokens in each.
    peak_lr : float
        Highest learning rate of the model's own weights.
    router_lr : float
        Highest learning rate of a router, times the mean norm of its inputs: the residual stream is
        not normed and grows with depth.
    warmup_steps : int
        Steps over which the learning rate rises; it then falls along a cosine to zero.
    weight_decay, clip : float
        Decoupled decay of the matrices and largest norm of the gradient.
    dropout : float
        Fraction of every sub-layer's outputs zeroed in training.
    first_batch : int
        Where the stage starts in the sequence of random batches.
    skip, skip_low, skip_high : float
        Fraction of executions each kind of sub-layer is to skip, counted over every layer, and the
        band the controller keeps each sub-layer in.
    integral_gain, push_gain : float
        Gains of the controller of the skip rates.
    noise, noise_end : float
        Scale of the logistic noise on router decisions at the start, and the fraction of the steps
        after which it has fallen to zero and decisions are the argmax.
    int4_share : float
        Fraction of the steps which round weights to the INT4 grid.
    calibration_rows : int
        Windows from which routers are initialised.
    """

    routers: bool
    kv_reuse: bool = True
    steps: int
    rows: int = 16
    peak_lr: float
    router_lr: float = 2e-3
    warmup_steps: int = 100
    weight_decay: float = 0.1
    clip: float = 1.0
    dropout: float = 0.0
    first_batch: int = 0
    skip: float = 0.25
    skip_low: float = 0.12
    skip_high: float = 0.45
    integral_gain: float = 0.005
    push_gain: float = 1.0
    noise: float = 0.5
    noise_end: float = 0.5
    int4_share: float = 0.5
    calibration_rows: int = 96

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"Steps must be at least 1, not {self.steps!r}")


_ROUTED = Recipe(
    routers=True, steps=900, peak_lr=1.5e-3, warmup_steps=30, dropout=0.05, first_batch=500_000
)

STAGES = {
    "dense": Recipe(routers=False, steps=2300, peak_lr=4e-3),
    "reuse": _ROUTED,
    "dense-kv": replace(_ROUTED, kv_reuse=False),
}
"""Stages in the order they run; both routed ones start from the dense one's weights."""

FOLDERS = {"dense": "tiny-dense", "reuse": "tiny", "dense-kv": "tiny-dense-kv"}
"""Model folder each stage exports."""
