"""Make small random models and their logits with Hugging Face transformers.

Run ``python tests/models/parity/make_logits.py``: it rewrites the folders beside this file. Each
holds `config.json` as transformers writes it, `model.safetensors` with float16 weights, and
`logits.safetensors` with the tokens and the logits that transformers computes from these weights
in float32.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
)

HERE = Path(__file__).resolve().parent
WINDOWS, TOKENS = 2, 40

COMMON: dict[str, Any] = {
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
    "bos_token_id": None,
    "eos_token_id": None,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
PLAIN = {"rope_type": "default", "rope_theta": 10000.0}


def models() -> dict[str, PreTrainedModel]:
    """Return the models by name, with the weights of their constructors."""
    llama3 = COMMON | {"head_dim": 16, "tie_word_embeddings": True, "rope_parameters": LLAMA3}
    wide = COMMON | {"head_dim": 12, "sliding_window": None, "rope_parameters": PLAIN}
    qwen2 = COMMON | {"rope_parameters": PLAIN | {"rope_theta": 1e6}, "rms_norm_eps": 1e-6}
    return {
        "llama": LlamaForCausalLM(LlamaConfig(**COMMON, rope_parameters=PLAIN)),
        "llama3-rope": LlamaForCausalLM(LlamaConfig(**llama3)),
        "mistral": MistralForCausalLM(MistralConfig(**wide)),
        "qwen2": Qwen2ForCausalLM(Qwen2Config(**qwen2)),
    }


def randomise(model: PreTrainedModel, generator: torch.Generator) -> None:
    """Fill every parameter with normal values that float16 holds, large enough to matter."""
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            matrix = parameter.dim() == 2
            value = noise / parameter.shape[-1] ** 0.5 if matrix else 0.3 * noise
            if not matrix and not torch.equal(parameter, torch.zeros_like(parameter)):
                value = 1 + value
            parameter.copy_(value.half().float())


def logits(model: PreTrainedModel, ids: torch.Tensor) -> torch.Tensor:
    """Return float32 logits [windows, tokens, vocab] of `ids` [windows, tokens]."""
    with torch.no_grad():
        return model.eval().float()(ids).logits.float()


def main() -> None:
    """Rewrite every folder."""
    for seed, (name, model) in enumerate(models().items()):
        generator = torch.Generator().manual_seed(seed)
        randomise(model, generator)
        ids = torch.randint(COMMON["vocab_size"], (WINDOWS, TOKENS), generator=generator)
        folder = HERE / name
        folder.mkdir(exist_ok=True)
        settings = {"architectures": [type(model).__name__]} | model.config.to_diff_dict()
        (folder / "config.json").write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n")
        state = {key: value.half().contiguous() for key, value in model.state_dict().items()}
        if model.config.tie_word_embeddings:
            del state["lm_head.weight"]
        save_file(state, folder / "model.safetensors")
        save_file({"ids": ids, "logits": logits(model, ids)}, folder / "logits.safetensors")


if __name__ == "__main__":
    main()
