"""Small checkpoints as other projects write them."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

from hwroute.checkpoint import HEAD, matrix_shapes, vector_shapes
from hwroute.hf_config import shape_to_hf
from hwroute.shape import ModelShape

Tensors = dict[str, NDArray[Any]]
SHAPE = ModelShape(
    dim=128,
    layers=2,
    heads=2,
    kv_heads=1,
    head_dim=64,
    ffn_dim=256,
    vocab=96,
    context=32,
    tied=False,
)


@pytest.fixture
def shape() -> ModelShape:
    """Return the shape of the checkpoints here."""
    return SHAPE


@pytest.fixture
def tensors() -> Tensors:
    """Return float32 weights, seeded, that float16 holds."""
    random = np.random.default_rng(3)
    sizes = matrix_shapes(SHAPE) | vector_shapes(SHAPE)
    assert HEAD in sizes
    made = {}
    for name, size in sizes.items():
        value = random.standard_normal(size) / np.sqrt(size[-1])
        made[name] = (1 + value if len(size) == 1 else value).astype("<f2").astype("<f4")
    return made


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    """Return what writes a Hugging Face folder of `SHAPE`; keywords change its `config.json`."""

    def write(tensors: Tensors, **changes: Any) -> Path:
        folder = tmp_path / "checkpoint"
        folder.mkdir(exist_ok=True)
        (folder / "config.json").write_text(json.dumps(shape_to_hf(SHAPE) | changes))
        save_file(tensors, folder / "model.safetensors")
        return folder

    return write


@pytest.fixture
def vocabulary_file(tmp_path: Path) -> Path:
    """Return a `tokenizer.bin` of 96 pieces: letters, a few of their pairs, and fillers."""
    pieces = [b"<unk>", b"\n<s>\n", b"\n</s>\n", b" ", *(bytes([c]) for c in range(97, 123))]
    pieces += [b" a", b"ab", b"ba", b"abba"]
    pieces += [b"filler%d" % number for number in range(96 - len(pieces))]
    path = tmp_path / "vocabulary.bin"
    path.write_bytes(
        struct.pack("<I", 8)
        + b"".join(
            struct.pack("<fI", -float(score), len(piece)) + piece
            for score, piece in enumerate(pieces)
        )
    )
    return path
