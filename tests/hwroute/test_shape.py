"""ModelShape refuses what cannot be, and survives the trip through a Hugging Face config."""

from dataclasses import replace
from typing import Any

import pytest

from hwroute.errors import InputError
from hwroute.hf_config import shape_from_hf, shape_to_hf
from hwroute.shape import Llama3Scaling, ModelShape

SMALL = ModelShape(
    dim=64, layers=2, heads=4, kv_heads=2, head_dim=16, ffn_dim=96, vocab=100, context=32
)
SCALING = Llama3Scaling(factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_context=16)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"dim": 0}, ValueError, "dim must be positive, not 0"),
        ({"layers": 2.0}, TypeError, r"layers must be an int, not 2\.0"),
        ({"vocab": True}, TypeError, "vocab must be an int, not True"),
        ({"kv_heads": 3}, ValueError, r"heads must be a multiple of kv_heads \(3\), not 4"),
        ({"head_dim": 15}, ValueError, "head_dim must be even, not 15"),
        ({"norm_eps": 0.0}, ValueError, r"norm_eps must be finite and above 0, not 0\.0"),
        ({"norm_eps": "small"}, TypeError, "norm_eps must be a number, not 'small'"),
        ({"rope_theta": float("inf")}, ValueError, "rope_theta must be finite and above 1"),
        ({"tied": 1}, TypeError, "tied must be a bool, not 1"),
        ({"rope_scaling": 8.0}, TypeError, "rope_scaling must be a Llama3Scaling or None"),
    ],
)
def test_bad_field_is_named(changes: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        replace(SMALL, **changes)


def test_scaling_band_must_not_be_empty() -> None:
    with pytest.raises(ValueError, match=r"high_freq_factor must be finite and above 4, not 4\.0"):
        replace(SCALING, low_freq_factor=4.0)


def test_widths_follow_from_the_heads() -> None:
    assert (SMALL.q_dim, SMALL.kv_dim, SMALL.queries_per_kv, SMALL.sublayers) == (64, 32, 2, 4)


@pytest.mark.parametrize(
    "shape",
    [SMALL, replace(SMALL, tied=True, qkv_bias=True), replace(SMALL, rope_scaling=SCALING)],
)
def test_config_json_round_trip(shape: ModelShape) -> None:
    assert shape_from_hf(shape_to_hf(shape), "config.json") == shape


def test_both_spellings_of_the_rotary_constants_agree() -> None:
    old = shape_to_hf(replace(SMALL, rope_scaling=SCALING, rope_theta=5e5))
    new = dict(old)
    new["rope_parameters"] = {**new.pop("rope_scaling"), "rope_theta": new.pop("rope_theta")}
    assert shape_from_hf(new, "new") == shape_from_hf(old, "old")
    assert shape_from_hf(new, "new").rope_theta == 5e5


def test_old_files_take_the_defaults_of_transformers() -> None:
    config = shape_to_hf(replace(SMALL, kv_heads=4))
    for key in ("num_key_value_heads", "head_dim", "rope_theta", "rope_scaling"):
        del config[key]
    assert shape_from_hf(config, "config.json") == replace(SMALL, kv_heads=4)


MISTRAL = {"architectures": ["MistralForCausalLM"]}
QWEN2 = {"architectures": ["Qwen2ForCausalLM"]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architectures": ["GPT2LMHeadModel"]}, "architectures must be one of .* 'GPT2LMHeadMod"),
        (
            {"architectures": ["LlamaForCausalLn"]},
            "not 'LlamaForCausalLn'; did you mean 'LlamaForCausalLM'",
        ),
        ({"architectures": None}, "architectures must be one of .*, not None"),
        ({"hidden_act": "gelu"}, "hidden_act must be 'silu', not 'gelu'"),
        ({"attention_bias": True}, "attention_bias must be False, not True"),
        ({"mlp_bias": True}, "mlp_bias must be False, not True"),
        ({"partial_rotary_factor": 0.5}, r"partial_rotary_factor must be 1\.0, not 0\.5"),
        ({"sliding_window": 8} | MISTRAL, "sliding_window must be null or at least .*32.*, not 8"),
        ({"sliding_window": 8, "use_sliding_window": True} | QWEN2, "sliding_window must be null"),
        ({"max_position_embeddings": 8192} | MISTRAL, "sliding_window must be null .* not 4096"),
        ({"num_key_value_heads": None} | MISTRAL, "key num_key_value_heads is missing"),
        ({"hidden_size": None}, "key hidden_size is missing"),
        ({"hidden_size": "64"}, "hidden_size must be of type int, not '64'"),
        ({"num_key_value_heads": 3}, "heads must be a multiple of kv_heads"),
        ({"rope_scaling": {"type": "linear", "factor": 2.0}}, "rope_type must be .* not 'linear'"),
        ({"rope_scaling": {"rope_type": "llama3"}}, "key factor is missing"),
    ],
)
def test_what_is_not_handled_is_refused_by_name(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=f"^config.json: .*{message}"):
        shape_from_hf(shape_to_hf(SMALL) | changes, "config.json")


def test_an_unused_window_is_not_a_window() -> None:
    config = shape_to_hf(replace(SMALL, qkv_bias=True)) | {"sliding_window": 8}
    assert shape_from_hf(config, "config.json").qkv_bias
    config = shape_to_hf(SMALL) | MISTRAL | {"sliding_window": 32}
    assert shape_from_hf(config, "config.json") == SMALL
