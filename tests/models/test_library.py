"""What ships by name."""

import json
from pathlib import Path

import pytest

from hwroute.errors import InputError
from hwroute.models.library import SHAPES, model_path, model_shape, shape_names
from hwroute.shape import ModelShape

PARAMETERS = {
    "llama2-7b": 6_738_415_616,
    "llama2-13b": 13_015_864_320,
    "llama3.1-8b": 8_030_261_248,
    "mistral-7b": 7_248_023_552,
    "qwen2.5-7b": 7_615_616_512,
    "tinyllama-1.1b": 1_100_048_384,
}
"""What their publishers count."""


def parameters(shape: ModelShape) -> int:
    norms = shape.dim * (2 * shape.layers + 1)
    biases = shape.layers * (shape.q_dim + 2 * shape.kv_dim) if shape.qkv_bias else 0
    tables = shape.vocab * shape.dim * (1 if shape.tied else 2)
    layers = shape.layers * (shape.attention_weights + shape.ffn_weights)
    return layers + norms + biases + tables


def test_every_shape_has_the_published_number_of_parameters() -> None:
    assert {name: parameters(model_shape(name)) for name in shape_names()} == PARAMETERS


@pytest.mark.parametrize("name", list(PARAMETERS))
def test_every_shape_says_where_it_is_from(name: str) -> None:
    config = json.loads((SHAPES / f"{name}.json").read_text(encoding="utf-8"))
    assert config["hwroute"]["source"].startswith("https://huggingface.co/")


def test_a_shape_is_read_from_a_file_too(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text((SHAPES / "llama2-7b.json").read_text(encoding="utf-8"), encoding="utf-8")
    assert model_shape(str(file)) == model_shape("llama2-7b")
    file.write_text("[]", encoding="utf-8")
    with pytest.raises(InputError, match=r"config\.json: must hold a JSON object, not \[\]"):
        model_shape(str(file))


def test_unknown_names_are_refused_with_the_nearest() -> None:
    with pytest.raises(
        InputError, match=r"shape must be .*, not 'llama-7b'; did you mean 'llama2-7b'"
    ):
        model_shape("llama-7b")
    with pytest.raises(InputError, match=r"model must be .*, not 'tinyy'; did you mean 'tiny'"):
        model_path("tinyy")
    with pytest.raises(InputError, match="model must have weights, not 'llama2-7b': it is a shape"):
        model_path("llama2-7b")
