"""Model folders: a float16 master in Hugging Face's layout, and self-contained INT4 weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import torch as safetensors
from torch import Tensor

from hwroute.models.train.config import ModelShape
from hwroute.models.train.model import Linear, RoutedLlama
from hwroute.models.train.quantize import dequantize, pack, quantize, unpack

FORMAT = 1
INT4_FORMAT = "hwroute-int4/1"
HEAD = "lm_head"
EMBEDDING = "model.embed_tokens.weight"

_KEYS = {
    "vocab_size": "vocab",
    "hidden_size": "dim",
    "intermediate_size": "hidden",
    "num_hidden_layers": "layers",
    "num_attention_heads": "heads",
    "num_key_value_heads": "kv_heads",
    "head_dim": "head_dim",
    "max_position_embeddings": "context",
    "rms_norm_eps": "norm_eps",
    "rope_theta": "rope_theta",
}
"""Hugging Face's names of the fields of `ModelShape`."""


def config(shape: ModelShape, *, routers: bool, seed: int) -> dict[str, Any]:
    """Return what ``config.json`` holds."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        **{key: getattr(shape, field) for key, field in _KEYS.items()},
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": True,
        "torch_dtype": "float16",
        "hwroute": {
            "format": FORMAT,
            "tokenizer": "ascii",
            "routers": routers,
            "kv": "reuse" if shape.kv_reuse else "dense",
            "seed": seed,
        },
    }


def int4(model: RoutedLlama) -> dict[str, Tensor]:
    """Return the self-contained INT4 weights, rounded from the float16 master.

    Every product's matrix and the head become ``<name>.weight_q``, uint8 [out, in / 2], and
    ``<name>.scale``, float16 [out, in / 128]; the rest stays float16.
    """
    matrices = {name for name, module in model.named_modules() if isinstance(module, Linear)}
    tensors = {}
    for name, weight in model.state_dict().items():
        master, layer = weight.half(), name.removesuffix(".weight")
        if layer in matrices or name == EMBEDDING:
            codes, scale = quantize(master.float())
            target = HEAD if name == EMBEDDING else layer
            tensors[f"{target}.weight_q"] = pack(codes)
            tensors[f"{target}.scale"] = scale.half().flatten(1)
        if layer not in matrices:
            tensors[name] = master
    return tensors


def save(model: RoutedLlama, folder: Path, *, seed: int, with_int4: bool) -> None:
    """Write a model folder: ``config.json``, ``model.safetensors`` and perhaps the INT4 weights."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(config(model.shape, routers=model.routers, seed=seed), indent=2)
    (folder / "config.json").write_text(text + "\n")
    master = {name: weight.half() for name, weight in model.state_dict().items()}
    data = safetensors.save(master, metadata={"format": "pt"})
    (folder / "model.safetensors").write_bytes(data)
    if with_int4:
        data = safetensors.save(int4(model), metadata={"format": INT4_FORMAT})
        (folder / "int4.safetensors").write_bytes(data)


def load(folder: Path, *, use_int4: bool = False) -> RoutedLlama:
    """Read a model folder, as float32.

    Parameters
    ----------
    folder : Path
        What `save` wrote.
    use_int4 : bool
        Whether to read ``int4.safetensors`` instead of the master. The head then differs from the
        embedding.
    """
    settings = json.loads((folder / "config.json").read_text())
    shape = ModelShape(
        **{field: settings[key] for key, field in _KEYS.items()},
        kv_reuse=settings["hwroute"]["kv"] == "reuse",
    )
    model = RoutedLlama(shape, routers=settings["hwroute"]["routers"])
    tensors = safetensors.load_file(
        folder / ("int4.safetensors" if use_int4 else "model.safetensors")
    )
    for name in [name for name in tensors if name.endswith(".weight_q")]:
        layer = name.removesuffix(".weight_q")
        scale = tensors.pop(f"{layer}.scale").float().unsqueeze(-1)
        tensors[f"{layer}.weight"] = dequantize(unpack(tensors.pop(name)), scale)
    head = tensors.pop(f"{HEAD}.weight", None)
    model.load_state_dict({name: weight.float() for name, weight in tensors.items()})
    if head is not None:
        model.head = head
    model.eval()
    return model
