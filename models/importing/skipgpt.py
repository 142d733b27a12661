"""SkipGPT's routers as its released code names them (EIT-NLP/SkipGPT, `router_attn_mlp.py`).

Every layer is wrapped: the layer's own tensors stand under ``block``, the routers beside it. Both
read the layer input, logit 0 executes, and keys and values are computed for every token.

| released | here |
| --- | --- |
| ``model.layers.3.block.self_attn.q_proj.weight`` | ``model.layers.3.self_attn.q_proj.weight`` |
| ``...router_attention.weight_predictor.weight`` [2, dim] | ``...attn_router.weight`` |
| ``...router_mlp.weight_predictor.weight`` [2, dim] | ``...ffn_router.weight`` |
| ``...router_mlp.hidden_layer.weight`` [dim / 4, dim] | ``...ffn_router.0.weight`` |
| ``...router_mlp.weight_predictor.weight`` [2, dim / 4] beside it | ``...ffn_router.1.weight`` |

Biases go with their weights.
"""

import re
from dataclasses import replace
from typing import Any

from hwroute.errors import InputError
from hwroute.models.library import named_policy
from hwroute.policy import RoutingPolicy
from hwroute.policy_parts import Site
from hwroute.policy_terms import Activation

_BLOCK = re.compile(r"(model\.layers\.\d+\.)block\.(.+)")
_ROUTER = re.compile(
    r"(model\.layers\.\d+\.)router_(attention|mlp)\.(hidden_layer|weight_predictor)\.(weight|bias)"
)
_SITES = {"attention": "attn_router", "mlp": "ffn_router"}
_MARK = "MoD"
"""What the released code puts into the name of the architecture: LlamaMoDForCausalLM."""


def plain_architectures(config: dict[str, Any]) -> dict[str, Any]:
    """Return a `config.json` with the names of the architectures that were wrapped."""
    names = config.get("architectures")
    if not isinstance(names, list):
        return config
    plain = [name.replace(_MARK, "") if isinstance(name, str) else name for name in names]
    return config | {"architectures": plain}


def our_names(names: frozenset[str]) -> dict[str, str]:
    """Return hwroute's name of every tensor that the released code calls differently."""
    routers = {name: found for name in names if (found := _ROUTER.fullmatch(name))}
    two = any(found[3] == "hidden_layer" for found in routers.values())
    renamed = {name: found[1] + found[2] for name in names if (found := _BLOCK.fullmatch(name))}
    for name, found in routers.items():
        linear = "" if not two else "0." if found[3] == "hidden_layer" else "1."
        renamed[name] = f"{found[1]}{_SITES[found[2]]}.{linear}{found[4]}"
    return renamed


def implied_policy(names: frozenset[str], where: str) -> RoutingPolicy:
    """Return the policy that SkipGPT's routers are for, or `off` without routers.

    Parameters
    ----------
    names
        Of all tensors, hwroute's.
    where
        What an error calls the checkpoint.

    Raises
    ------
    InputError
        There are routers of whole layers: nothing says which method's.
    """
    routers = [name for name in names if "_router." in name]
    if not routers:
        return named_policy("off")
    if any(".layer_router." in name for name in routers):
        raise InputError(f"{where}: routers of whole layers must come with a policy (--policy)")
    policy = named_policy("skipgpt-layer-input")
    two = any(name.endswith("_router.0.weight") for name in routers)
    bias = any(name.endswith("bias") for name in routers)
    if not two and not bias:
        return policy

    def adapted(site: Site | None) -> Site:
        assert site is not None
        assert site.router is not None
        activation = Activation.RELU if two else Activation.NONE
        router = replace(site.router, linears=1 + two, bias=bias, activation=activation)
        return replace(site, router=router)

    return replace(
        policy,
        name=policy.name + "-2-linear" * two + "-bias" * bias,
        attention=adapted(policy.attention),
        ffn=adapted(policy.ffn),
    )
