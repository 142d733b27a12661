"""Routing decisions of the float reference."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwroute.models.float_ops import activate, rms_norm, sigmoid
from hwroute.policy_parts import Router, Site
from hwroute.policy_terms import Addend, Decide, Tie

Array = NDArray[Any]
Bools = NDArray[np.bool_]

REFERENCE_PRIMITIVES = frozenset(
    {
        "site:attention",
        "site:ffn",
        "site:layer",
        "scope:token",
        "scope:table",
        "source:layer-input",
        "source:sub-layer-input",
        "source:sub-layer-normed",
        "pooling:none",
        "body:1-linear",
        "body:2-linear",
        "body:bias",
        "body:rmsnorm",
        "activation:none",
        "activation:relu",
        "activation:silu",
        "activation:gelu-tanh",
        "decision:argmax",
        "decision:threshold",
        "decision:table",
        "tie:execute",
        "tie:skip",
        "tie:lowest-index",
        "override:first-layers",
        "override:first-tokens",
        "override:logit-bias",
        "base:residual",
        "addend:native",
        "addend:bypass",
        "gate:one",
        "repeat:0",
        "repeat:1",
        "kv:dense",
        "kv:reuse",
        "kv:evict",
    }
)
"""What the float reference runs of a policy."""


def router_logits(x: Array, router: Router, tensors: dict[str, Array], eps: float) -> Array:
    """Return the logits [..., logits] of a router's input `x` [..., dim].

    Parameters
    ----------
    tensors
        As `hwroute.checkpoint.router_shapes` names them.
    eps
        Of the RMSNorm between two linears.
    """
    if router.linears == 1:
        return x @ tensors["weight"].T + tensors.get("bias", 0)
    hidden = x @ tensors["0.weight"].T + tensors.get("0.bias", 0)
    if router.rmsnorm:
        hidden = rms_norm(hidden, tensors["norm.weight"], eps)
    hidden = activate(hidden, router.activation)
    return hidden @ tensors["1.weight"].T + tensors.get("1.bias", 0)


def decide(site: Site, logits: Array) -> Bools:
    """Return which tokens execute, bool [...], of router logits [..., logits].

    Argmax: the largest logit of an outcome that executes against the largest of one that does not,
    equal ones as the tie rule says. Threshold: the sigmoid of the one logit exceeds it.
    """
    if site.overrides.logit_bias:
        logits = logits + np.asarray(site.overrides.logit_bias, logits.dtype)
    executes = np.array([outcome.addend is Addend.NATIVE for outcome in site.outcomes])
    if site.decision.rule is Decide.THRESHOLD:
        above: Bools = sigmoid(logits[..., 0]) > site.decision.threshold
        return above if executes[0] else ~above
    if site.decision.tie is Tie.LOWEST_INDEX or executes.all() or not executes.any():
        chosen: Bools = executes[np.argmax(logits, axis=-1)]
        return chosen
    execute, skip = logits[..., executes].max(-1), logits[..., ~executes].max(-1)
    wins: Bools = execute >= skip if site.decision.tie is Tie.EXECUTE else execute > skip
    return wins


def forced(site: Site, layer: int, positions: Array) -> Bools:
    """Return which tokens execute whatever the router says, bool [tokens].

    Parameters
    ----------
    positions
        int [tokens], from the start of the sequence.
    """
    everywhere = layer < site.overrides.first_layers
    early: Bools = positions < site.overrides.first_tokens
    return early | everywhere
