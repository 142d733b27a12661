"""Import a checkpoint: Hugging Face's two files in, a model folder that the machine runs out.

A real checkpoint takes one command, ``hwroute models import FOLDER``. Here a small one with random
weights is made first, so that the script needs no download: what Hugging Face would save for a
Llama of two layers.

Run: python examples/import_checkpoint.py
"""

import json
import tempfile
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from hwroute import api

DIM, FFN, LAYERS, HEADS, VOCAB = 96, 256, 2, 2, 128
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_act": "silu",
    "hidden_size": DIM,
    "intermediate_size": FFN,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "vocab_size": VOCAB,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
}


def save_checkpoint(folder: Path) -> None:
    """Write `config.json` and `model.safetensors` as Hugging Face names them."""
    random = np.random.default_rng(1)
    sizes = {"model.embed_tokens.weight": (VOCAB, DIM), "model.norm.weight": (DIM,)}
    sizes["lm_head.weight"] = (VOCAB, DIM)
    for layer in range(LAYERS):
        start = f"model.layers.{layer}."
        sizes |= {f"{start}self_attn.{letter}_proj.weight": (DIM, DIM) for letter in "qkvo"}
        sizes |= {f"{start}mlp.{name}_proj.weight": (FFN, DIM) for name in ("gate", "up")}
        sizes[f"{start}mlp.down_proj.weight"] = (DIM, FFN)
        sizes |= {f"{start}{name}_layernorm.weight": (DIM,) for name in ("input", "post_attention")}
    tensors = {}
    for name, size in sizes.items():
        value = random.standard_normal(size) / size[-1] ** 0.5 if len(size) == 2 else np.ones(size)
        tensors[name] = value.astype(np.float16)
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG), encoding="utf-8")
    save_file(tensors, folder / "model.safetensors")


def main() -> None:
    """Save a checkpoint, import it, and run what came out on both executors."""
    with tempfile.TemporaryDirectory() as scratch:
        checkpoint, folder = Path(scratch) / "checkpoint", Path(scratch) / "small"
        save_checkpoint(checkpoint)
        # Matrices are rounded to INT4, 128 inputs to a scale; 96 inputs make one shorter group.
        # Tokens are characters here; a real model brings a tokenizer.model or a tokenizer.bin.
        model = api.import_model(checkpoint, folder, quantize="rtn", tokenizer="ascii")
        print(f"imported {model.name}: {model.size_bytes} bytes")
        for path in sorted(folder.iterdir()):
            print(f"  {path.name:<18} {path.stat().st_size:>7} bytes")
        matrix = "model.layers.0.mlp.down_proj.weight"
        rounded, original = model.int4(matrix), model.tensor(matrix)
        error = np.abs(rounded.dequantised() - original).mean() / np.abs(original).mean()
        print(f"{matrix}: INT4 is {error:.1%} off on average")
        # The reference has the float weights, the golden model every bit of the machine. Random
        # weights make nearly equal logits, of which rounding may pick another.
        for on in ("reference", "golden"):
            result = api.generate(model, "Hello", 8, on=on)
            print(f"{on:<10} {result.token_ids}")


if __name__ == "__main__":
    main()
