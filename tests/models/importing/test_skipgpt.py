"""SkipGPT's released routers come in under hwroute's names, with the policy that they are for."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hwroute.api import import_model
from hwroute.errors import InputError
from hwroute.models.library import named_policy
from hwroute.models.reference import Reference
from hwroute.policy_terms import Activation, KVRule, Source

Array = NDArray[Any]
Tensors = dict[str, Array]
Save = Callable[..., Path]
HIDDEN = 128 // 4
IDS = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8]


def wrapped(tensors: Tensors, *, linears: int, bias: bool) -> Tensors:
    """Return a checkpoint as the released code saves it."""
    random = np.random.default_rng(9)
    made = {
        name.replace(".mlp.", ".block.mlp.")
        .replace(".self_attn.", ".block.self_attn.")
        .replace(".input_lay", ".block.input_lay")
        .replace(".post_att", ".block.post_att"): value
        for name, value in tensors.items()
    }
    sizes = {"weight_predictor": (2, HIDDEN if linears == 2 else 128)}
    if linears == 2:
        sizes["hidden_layer"] = (HIDDEN, 128)
    for layer in (0, 1):
        for site in ("attention", "mlp"):
            for linear, size in sizes.items():
                start = f"model.layers.{layer}.router_{site}.{linear}"
                made[f"{start}.weight"] = random.standard_normal(size).astype("<f2").astype("<f4")
                if bias:
                    value = random.standard_normal(size[0])
                    made[f"{start}.bias"] = value.astype("<f2").astype("<f4")
    return made


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("linears", [1, 2])
def test_routers_decide_as_the_released_code(
    save: Save, tensors: Tensors, tmp_path: Path, linears: int, bias: bool
) -> None:
    released = wrapped(tensors, linears=linears, bias=bias)
    folder = save(released, architectures=["LlamaMoDForCausalLM"])
    model = import_model(folder, tmp_path / "made")
    policy = model.policy
    assert policy.kv is KVRule.DENSE
    for _, site in policy.sites():
        assert site.router is not None
        assert site.router.source is Source.LAYER_INPUT
        assert (site.router.linears, site.router.bias) == (linears, bias)
        assert (site.router.activation is Activation.RELU) == (linears == 2)
    if linears == 1 and not bias:
        assert policy == named_policy("skipgpt-layer-input")
    reference = Reference(model)
    reference.forward(IDS)
    # Both routers of the first layer read the embedding; index 0 executes.
    x = tensors["model.embed_tokens.weight"][IDS]
    executed = []
    for site_name in ("attention", "mlp"):
        start = f"model.layers.0.router_{site_name}."

        def linear(name: str, x: Array, start: str = start) -> Array:
            product = x @ released[f"{start}{name}.weight"].T
            return product + released[f"{start}{name}.bias"] if bias else product

        hidden = np.maximum(linear("hidden_layer", x), 0) if linears == 2 else x
        logits = linear("weight_predictor", hidden)
        executed.append(logits[:, 0] >= logits[:, 1])
    assert 0 < np.mean(executed) < 1
    np.testing.assert_array_equal(reference.decisions[0], executed)


def test_another_policy_may_be_given(save: Save, tensors: Tensors, tmp_path: Path) -> None:
    folder = save(wrapped(tensors, linears=1, bias=False))
    model = import_model(folder, tmp_path / "made", policy=named_policy("skipgpt"))
    assert model.policy == named_policy("skipgpt")
    assert model.routers == 3
    model = import_model(folder, tmp_path / "dense", policy=named_policy("off"))
    assert model.routers == 0


def test_a_missing_router_is_named(save: Save, tensors: Tensors, tmp_path: Path) -> None:
    released = wrapped(tensors, linears=2, bias=True)
    del released["model.layers.1.router_mlp.hidden_layer.bias"]
    with pytest.raises(
        InputError, match=r"tensor model\.layers\.1\.ffn_router\.0\.bias is missing"
    ):
        import_model(save(released), tmp_path / "made")
