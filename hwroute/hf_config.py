"""A `ModelShape` from and to the `config.json` of a Hugging Face model."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hwroute.errors import InputError, nearest
from hwroute.shape import Llama3Scaling, ModelShape

LLAMA, MISTRAL, QWEN2 = "LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM"
ARCHITECTURES = (LLAMA, MISTRAL, QWEN2)
"""Architectures that `ModelShape` describes completely."""

_SCALING_KEYS = {
    "factor": "factor",
    "low_freq_factor": "low_freq_factor",
    "high_freq_factor": "high_freq_factor",
    "original_context": "original_max_position_embeddings",
}


def read_config(path: Path) -> dict[str, Any]:
    """Return the object that a JSON file holds.

    Raises
    ------
    InputError
        The file is unreadable or holds something else.
    """
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{path}: must be a readable JSON file: {error}") from error
    if not isinstance(config, dict):
        raise InputError(f"{path}: must hold a JSON object, not {config!r}")
    return config


def shape_from_hf(config: Mapping[str, Any], where: str) -> ModelShape:
    """Read the parsed `config.json` of a Hugging Face model.

    Rotary constants are read in both spellings, `rope_theta` beside `rope_scaling` and transformers
    5's `rope_parameters`. Keys that older files leave out (`head_dim`, `rope_theta`, Llama's
    `num_key_value_heads`) take the default of transformers.

    `where` is what an error calls the file.

    Raises
    ------
    InputError
        Something that is not handled, or a key that is missing, of the wrong type or out of range.
    """
    architecture = _architecture(config, where)
    _refuse_variants(config, architecture, where)
    heads = _get(config, "num_attention_heads", int, where)
    llama = architecture == LLAMA
    dim = _get(config, "hidden_size", int, where)
    theta, scaling = _rotary(config, where)
    try:
        return ModelShape(
            dim=dim,
            layers=_get(config, "num_hidden_layers", int, where),
            heads=heads,
            kv_heads=_get(config, "num_key_value_heads", int, where, heads if llama else None),
            head_dim=_get(config, "head_dim", int, where, dim // max(heads, 1)),
            ffn_dim=_get(config, "intermediate_size", int, where),
            vocab=_get(config, "vocab_size", int, where),
            context=_get(config, "max_position_embeddings", int, where),
            norm_eps=_get(config, "rms_norm_eps", float, where),
            rope_theta=theta,
            rope_scaling=scaling,
            qkv_bias=architecture == QWEN2,
            tied=_get(config, "tie_word_embeddings", bool, where, False),
        )
    except (TypeError, ValueError) as error:
        raise InputError(f"{where}: {error}") from error


def shape_to_hf(shape: ModelShape) -> dict[str, Any]:
    """Return keys of a Hugging Face `config.json` from which `shape_from_hf` reads `shape`."""
    scaling: dict[str, Any] | None = None
    if shape.rope_scaling is not None:
        values = asdict(shape.rope_scaling)
        scaling = {"rope_type": "llama3"} | {hf: values[our] for our, hf in _SCALING_KEYS.items()}
    return {
        "architectures": [QWEN2 if shape.qkv_bias else LLAMA],
        "model_type": "qwen2" if shape.qkv_bias else "llama",
        "hidden_act": "silu",
        "hidden_size": shape.dim,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_dim,
        "intermediate_size": shape.ffn_dim,
        "vocab_size": shape.vocab,
        "max_position_embeddings": shape.context,
        "rms_norm_eps": shape.norm_eps,
        "rope_theta": shape.rope_theta,
        "rope_scaling": scaling,
        "tie_word_embeddings": shape.tied,
    }


def _architecture(config: Mapping[str, Any], where: str) -> str:
    names = config.get("architectures")
    name = names[0] if isinstance(names, list) and len(names) == 1 else names
    if name not in ARCHITECTURES:
        close = nearest(name, list(ARCHITECTURES)) if isinstance(name, str) else ""
        raise InputError(
            f"{where}: architectures must be one of {', '.join(ARCHITECTURES)}, not {name!r}{close}"
        )
    return str(name)


def _refuse_variants(config: Mapping[str, Any], architecture: str, where: str) -> None:
    """Refuse options that change the computation in a way no field of `ModelShape` describes."""
    required = {"hidden_act": "silu", "partial_rotary_factor": 1.0, "mlp_bias": False}
    if architecture != QWEN2:
        required["attention_bias"] = False
    for key, value in required.items():
        if config.get(key, value) != value:
            raise InputError(f"{where}: {key} must be {value!r}, not {config[key]!r}")
    # Mistral's configuration class has a window of 4096 tokens where the file says nothing.
    window = config.get("sliding_window", 4096 if architecture == MISTRAL else None)
    if architecture == QWEN2 and not config.get("use_sliding_window", False):
        window = None
    context = _get(config, "max_position_embeddings", int, where)
    if window is not None and window < context:
        raise InputError(
            f"{where}: sliding_window must be null or at least max_position_embeddings "
            f"({context}), not {window!r}: attention over a window is not handled"
        )


def _rotary(config: Mapping[str, Any], where: str) -> tuple[float, Llama3Scaling | None]:
    """Return the base of the frequencies and their scaling."""
    table = config.get("rope_parameters")
    if table is None:
        table = dict(config.get("rope_scaling") or {})
        table["rope_theta"] = config.get("rope_theta", 10000.0)
    theta = _get(table, "rope_theta", float, where, config.get("rope_theta", 10000.0))
    kind = table.get("rope_type", table.get("type", "default"))
    if kind == "default":
        return theta, None
    if kind != "llama3":
        raise InputError(f"{where}: rope_type must be 'default' or 'llama3', not {kind!r}")
    try:
        scaling = Llama3Scaling(
            factor=_get(table, "factor", float, where),
            low_freq_factor=_get(table, "low_freq_factor", float, where),
            high_freq_factor=_get(table, "high_freq_factor", float, where),
            original_context=_get(table, "original_max_position_embeddings", int, where),
        )
    except ValueError as error:
        raise InputError(f"{where}: {error}") from error
    return theta, scaling


def _get(table: Mapping[str, Any], key: str, kind: type, where: str, default: object = None) -> Any:
    """Return a key's value of type `kind`; an absent or null key takes the default."""
    value = table.get(key)
    if value is None:
        if default is None:
            raise InputError(f"{where}: key {key} is missing")
        return default
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise InputError(f"{where}: {key} must be of type {kind.__name__}, not {value!r}")
    return value
