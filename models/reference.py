"""Float reference: a Llama-family model with routing, in plain NumPy.

It exists for accuracy. The golden model interprets the machine's program; this does not.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwroute.checkpoint import HEAD, Checkpoint, layer_prefix
from hwroute.errors import InputError
from hwroute.models.float_cache import FloatCache
from hwroute.models.float_ops import attention, rms_norm, silu, split_heads
from hwroute.models.float_weights import MATRIX_FIELDS, WeightSource, load_float_weights
from hwroute.models.prompt import check_prompt
from hwroute.models.rope import rotary_tables, rotate
from hwroute.models.routing import REFERENCE_PRIMITIVES, decide, forced, router_logits
from hwroute.policy_parts import Site
from hwroute.policy_terms import Addend, Decide, KVRule, Source

Array = NDArray[Any]
Bools = NDArray[np.bool_]
Observer = Callable[[str, Array, Bools], None]
"""Told a matrix' name, its inputs [windows, tokens, in] and the tokens whose products are used."""

ATTENTION, FFN = 0, 1
"""Second index of decisions."""


@dataclass
class _Pass:
    """What the sub-layers of one forward pass share."""

    positions: Array
    cos: Array
    sin: Array
    cache: FloatCache
    forced: Bools | None


class Reference:
    """The network of a checkpoint in floating point.

    Parameters
    ----------
    checkpoint
        The model.
    weights
        "float": the unquantised model. "int4": dequantised INT4 matrices and FP16 for the rest.
    routing
        False executes every sub-layer for every token.
    kv
        KV rule in place of the policy's, or None.
    dtype
        Of weights and activations, ``np.float32`` or ``np.float64``.
    observer
        Told the inputs of every matrix.

    Attributes
    ----------
    decisions
        bool [layers, 2, tokens] or [layers, 2, windows, tokens], True where the token executed
        attention (0) or FFN (1): of the last `forward`, or of all tokens of the last `generate`.
    router_logits
        Logits [windows, tokens, logits] of the last `forward`, by layer and site.

    Raises
    ------
    InputError
        The policy needs a primitive that is not in `REFERENCE_PRIMITIVES`.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        weights: WeightSource = "float",
        routing: bool = True,
        kv: KVRule | None = None,
        dtype: type = np.float32,
        observer: Observer | None = None,
    ) -> None:
        self.shape = checkpoint.shape
        self.policy = checkpoint.policy if kv is None else checkpoint.policy.with_kv(kv)
        self.routing = routing
        self.dtype = dtype
        self.observer = observer
        if routing:
            self.policy.require(REFERENCE_PRIMITIVES, "the float reference")
        self.weights = load_float_weights(checkpoint, weights, dtype)
        self.decisions: Bools = np.ones((self.shape.layers, 2, 0), np.bool_)
        self.router_logits: dict[tuple[int, str], Array] = {}

    def forward(
        self, ids: Array | list[int], *, cache: FloatCache | None = None, force: Bools | None = None
    ) -> Array:
        """Predict the next token after each of `ids`.

        Parameters
        ----------
        ids
            Token ids, int [tokens] or [windows, tokens].
        cache
            What `new_cache` made, holding the tokens before `ids`; these are appended.
        force
            Decisions, shaped like `decisions`, in place of the routers'.

        Returns
        -------
        Logits, [tokens, vocab] or [windows, tokens, vocab].

        Raises
        ------
        InputError
            An id is no token of the model, or the sequence exceeds its context.
        """
        array = np.asarray(ids, dtype=np.int64)
        batch = np.atleast_2d(array)
        cache = self.new_cache() if cache is None else cache
        self._check(batch, cache.tokens)
        state = self._pass(cache, batch, force)
        self.router_logits = {}
        decisions = np.ones((self.shape.layers, 2, *batch.shape), np.bool_)
        x = self.weights.embedding[batch]
        for layer in range(self.shape.layers):
            x = self._layer(layer, x, state, decisions[layer])
        self.decisions = decisions if array.ndim == 2 else decisions[:, :, 0]
        normed = rms_norm(x, self.weights.norm, self.shape.norm_eps)
        if self.observer is not None:
            self.observer(HEAD, normed, np.ones(batch.shape, np.bool_))
        logits = normed @ self.weights.head.T
        result: Array = logits if array.ndim == 2 else logits[0]
        return result

    def _pass(self, cache: FloatCache, batch: Array, force: Bools | None) -> _Pass:
        positions = cache.tokens + np.arange(batch.shape[1])
        cos, sin = rotary_tables(self.shape, positions, self.dtype)
        if force is not None:
            force = np.asarray(force, np.bool_).reshape(self.shape.layers, 2, *batch.shape)
        return _Pass(positions=positions, cos=cos, sin=sin, cache=cache, forced=force)

    def new_cache(self) -> FloatCache:
        """Return an empty cache."""
        return FloatCache(self.policy.kv, self.shape.layers)

    def generate(self, prompt: list[int], count: int) -> list[int]:
        """Return `count` tokens after `prompt`, each the likeliest, the lowest id on a tie.

        The prompt is one forward pass; each further token is a pass over one token.

        Raises
        ------
        InputError
            The model cannot continue the prompt by `count` tokens.
        """
        check_prompt(self.shape, prompt, count)
        cache, fed, seen = self.new_cache(), list(prompt), []
        generated: list[int] = []
        while len(generated) < count:
            logits = self.forward(fed, cache=cache)
            seen.append(self.decisions)
            fed = [int(np.argmax(logits[-1]))]
            generated += fed
        self.decisions = np.concatenate(seen, axis=-1)
        return generated

    def _check(self, batch: Array, before: int) -> None:
        if batch.size and not 0 <= batch.min() <= batch.max() < self.shape.vocab:
            wrong = batch[(batch < 0) | (batch >= self.shape.vocab)][0]
            raise InputError(
                f"token id must be from 0 to {self.shape.vocab - 1} for this model, not {wrong}"
            )
        if before + batch.shape[1] > self.shape.context:
            raise InputError(
                f"sequence must be at most the model's context ({self.shape.context}) tokens, "
                f"not {before + batch.shape[1]}"
            )

    def _layer(self, layer: int, x: Array, state: _Pass, decisions: Bools) -> Array:
        """Run one layer on `x` [windows, tokens, dim]; fill `decisions` [2, windows, tokens]."""
        weights, eps, start = self.weights.layers[layer], self.shape.norm_eps, x
        normed = rms_norm(x, weights.attention_norm, eps)
        for site in ("attention", "layer"):
            self._decide(layer, site, (start, x, normed), state, decisions[ATTENTION])
        decisions[FFN] = decisions[ATTENTION] if self.policy.layer is not None else True
        if state.forced is not None:
            decisions[:] = state.forced[layer]
        executed = decisions[ATTENTION]
        mixed = self._attention(layer, normed, executed, state)
        self._observe(layer, ("o",), mixed, executed)
        x = np.where(executed[..., None], x + mixed @ weights.o.T, x)
        normed = rms_norm(x, weights.ffn_norm, eps)
        if state.forced is None:
            self._decide(layer, "ffn", (start, x, normed), state, decisions[FFN])
        self._observe(layer, ("gate", "up"), normed, decisions[FFN])
        gated = silu(normed @ weights.gate.T) * (normed @ weights.up.T)
        self._observe(layer, ("down",), gated, decisions[FFN])
        return np.where(decisions[FFN][..., None], x + gated @ weights.down.T, x)

    def _observe(self, layer: int, fields: tuple[str, ...], x: Array, used: Bools) -> None:
        if self.observer is not None:
            for field in fields:
                self.observer(layer_prefix(layer) + MATRIX_FIELDS[field], x, used)

    def _decide(
        self, layer: int, name: str, inputs: tuple[Array, ...], state: _Pass, out: Bools
    ) -> None:
        """Write the decisions of one site, if the policy routes it, into `out`.

        `inputs` are the layer input, the sub-layer input and its norm.
        """
        site: Site | None = getattr(self.policy, name) if self.routing else None
        if site is None:
            return
        if site.decision.rule is Decide.TABLE:
            out[:] = site.table_outcome(layer).addend is Addend.NATIVE
            return
        tensors = self.weights.layers[layer].routers.get(name)
        if tensors is None or site.router is None:
            return
        order = (Source.LAYER_INPUT, Source.SUBLAYER_INPUT, Source.SUBLAYER_NORMED)
        x = inputs[order.index(site.router.source)]
        logits = router_logits(x, site.router, tensors, self.shape.norm_eps)
        self.router_logits[layer, name] = logits
        out[:] = decide(site, logits) | forced(site, layer, state.positions)

    def _attention(self, layer: int, normed: Array, executed: Bools, state: _Pass) -> Array:
        """Attend from every token, [windows, tokens, heads * head_dim], and update the cache."""
        weights, d = self.weights.layers[layer], self.shape.head_dim
        dense = self.policy.kv is KVRule.DENSE
        self._observe(layer, ("q",), normed, executed)
        self._observe(layer, ("k", "v"), normed, np.ones_like(executed) if dense else executed)
        q = rotate(split_heads(normed @ weights.q.T + weights.q_bias, d), state.cos, state.sin)
        k = rotate(split_heads(normed @ weights.k.T + weights.k_bias, d), state.cos, state.sin)
        v = split_heads(normed @ weights.v.T + weights.v_bias, d)
        keys, values, present = state.cache.append(layer, k, v, executed)
        total = keys.shape[2]
        causal = state.positions[:, None] >= np.arange(total)
        # A token that skips still gets a finite, unused row: it sees itself.
        itself = state.positions[:, None] == np.arange(total)
        return attention(q, keys, values, (present[:, None] & causal) | itself)
