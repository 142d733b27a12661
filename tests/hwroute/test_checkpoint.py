"""Names and shapes of tensors are spelled out once, by hand."""

from hwroute.checkpoint import matrix_shapes, router_shapes, vector_shapes
from hwroute.models.library import named_policy
from hwroute.shape import ModelShape

SHAPE = ModelShape(
    dim=8,
    layers=3,
    heads=4,
    kv_heads=2,
    head_dim=6,
    ffn_dim=20,
    vocab=11,
    context=5,
    qkv_bias=True,
    tied=True,
)


def of_layer(names: dict[str, tuple[int, ...]], layer: int) -> dict[str, tuple[int, ...]]:
    start = f"model.layers.{layer}."
    return {name.removeprefix(start): size for name, size in names.items() if start in name}


def test_matrices() -> None:
    matrices = matrix_shapes(SHAPE)
    assert of_layer(dict(matrices), 2) == {
        "self_attn.q_proj.weight": (24, 8),
        "self_attn.k_proj.weight": (12, 8),
        "self_attn.v_proj.weight": (12, 8),
        "self_attn.o_proj.weight": (8, 24),
        "mlp.gate_proj.weight": (20, 8),
        "mlp.up_proj.weight": (20, 8),
        "mlp.down_proj.weight": (8, 20),
    }
    assert matrices["lm_head.weight"] == (11, 8)
    assert len(matrices) == 3 * 7 + 1


def test_vectors() -> None:
    vectors = vector_shapes(SHAPE)
    assert of_layer(vectors, 0) == {
        "input_layernorm.weight": (8,),
        "post_attention_layernorm.weight": (8,),
        "self_attn.q_proj.bias": (24,),
        "self_attn.k_proj.bias": (12,),
        "self_attn.v_proj.bias": (12,),
    }
    assert vectors["model.embed_tokens.weight"] == (11, 8)
    assert vectors["model.norm.weight"] == (8,)
    assert len(vectors) == 3 * 5 + 2


def test_routers_stand_only_where_a_decision_is_open() -> None:
    assert router_shapes(SHAPE, named_policy("skipgpt")) == {
        "model.layers.1.attn_router.weight": (2, 8),
        "model.layers.2.attn_router.weight": (2, 8),
        "model.layers.0.ffn_router.weight": (2, 8),
        "model.layers.1.ffn_router.weight": (2, 8),
        "model.layers.2.ffn_router.weight": (2, 8),
    }
    assert router_shapes(SHAPE, named_policy("d-llm")) == {
        "model.layers.2.layer_router.0.weight": (0, 8),
        "model.layers.2.layer_router.1.weight": (2, 0),
        "model.layers.2.layer_router.norm.weight": (0,),
    }
    for name in ("off", "latched-layers", "adamoe", "ftp"):
        assert router_shapes(SHAPE, named_policy(name)) == {}


def test_a_score_is_one_logit_and_biases_stand_beside_their_weights() -> None:
    assert router_shapes(SHAPE, named_policy("mindskip"))["model.layers.0.attn_router.weight"] == (
        1,
        8,
    )
    assert of_layer(router_shapes(SHAPE, named_policy("dr-llm")), 0) == {
        "layer_router.0.weight": (0, 8),
        "layer_router.0.bias": (0,),
        "layer_router.1.weight": (3, 0),
        "layer_router.1.bias": (3,),
    }
