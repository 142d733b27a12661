"""Hugging Face folders come in with the weights that they have, and broken ones are refused."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from hwroute.api import import_model
from hwroute.checkpoint import EMBEDDING, HEAD
from hwroute.errors import InputError
from hwroute.models import tensor_file
from hwroute.models.folder import ModelFolder
from hwroute.models.quantize import round_to_nearest
from hwroute.models.reference import Reference
from hwroute.shape import ModelShape

Tensors = dict[str, NDArray[Any]]
Save = Callable[..., Path]
Q_PROJ = "model.layers.1.self_attn.q_proj.weight"
NORM = "model.layers.0.input_layernorm.weight"


@pytest.mark.parametrize("name", ["llama", "llama3-rope", "mistral", "qwen2"])
def test_an_imported_folder_computes_the_logits_of_transformers(
    root: Path, tmp_path: Path, name: str
) -> None:
    folder = root / "tests" / "models" / "parity" / name
    expected = load_file(folder / "logits.safetensors")
    model = import_model(folder, tmp_path / name)
    found = Reference(model).forward(expected["ids"])
    error = np.abs(found - expected["logits"]).max()
    assert error <= 1e-4 * np.abs(expected["logits"]).max()
    assert model.shape == ModelFolder(folder).shape
    assert model.has_int4


def test_weights_are_kept_and_rounded_to_int4(save: Save, tensors: Tensors, tmp_path: Path) -> None:
    model = import_model(save(tensors), tmp_path / "made")
    assert (model.name, model.policy.name, model.tokenizer) == ("made", "off", None)
    for name, value in tensors.items():
        np.testing.assert_array_equal(model.tensor(name), value)
    for name in (Q_PROJ, HEAD):
        expected = round_to_nearest(tensors[name], 128)
        np.testing.assert_array_equal(model.int4(name).values, expected.values)
        np.testing.assert_array_equal(model.int4(name).scales, expected.scales)


def test_element_types_and_shards_make_no_difference(
    save: Save, tensors: Tensors, tmp_path: Path, write_tensors: Callable[..., None]
) -> None:
    # Of bfloat16 the weights have the upper 7 bits of significand.
    short = {name: (value.view("<u4") & 0xFFFF0000).view("<f4") for name, value in tensors.items()}
    folder = save(short)
    models = [import_model(folder, tmp_path / "float32")]
    save({name: value.astype(np.float16) for name, value in short.items()})
    models.append(import_model(folder, tmp_path / "float16"))
    raw = {name: ("BF16", (v.view("<u4") >> 16).astype("<u2")) for name, v in short.items()}
    write_tensors(folder / "model.safetensors", raw)
    models.append(import_model(folder, tmp_path / "bfloat16"))
    (folder / "model.safetensors").unlink()
    names = sorted(short)
    places = {name: f"model-{i % 3}-of-3.safetensors" for i, name in enumerate(names)}
    for file in set(places.values()):
        save_file({name: short[name] for name in names if places[name] == file}, folder / file)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": places}))
    models.append(import_model(folder, tmp_path / "shards"))
    for file in ("model", "int4"):
        files = {(model.path / f"{file}.safetensors").read_bytes() for model in models}
        assert len(files) == 1, file


def test_a_tied_head_is_the_embedding(save: Save, tensors: Tensors, tmp_path: Path) -> None:
    model = import_model(save(tensors, tie_word_embeddings=True), tmp_path / "made")
    np.testing.assert_array_equal(model.tensor(HEAD), tensors[EMBEDDING])
    expected = round_to_nearest(tensors[EMBEDDING], 128)
    np.testing.assert_array_equal(model.int4(HEAD).values, expected.values)
    assert HEAD not in load_file(tmp_path / "made" / "model.safetensors")


def test_buffers_and_biases_of_zeros_are_left_out(
    save: Save, tensors: Tensors, tmp_path: Path
) -> None:
    tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = np.ones(32, np.float32)
    tensors["model.layers.0.self_attn.o_proj.bias"] = np.zeros(128, np.float32)
    made = import_model(save(tensors), tmp_path / "made")
    assert set(load_file(made.path / "model.safetensors")) == {
        name for name in tensors if not name.endswith(("inv_freq", "bias"))
    }


BAD: list[tuple[Callable[[Tensors], Any], str]] = [
    (lambda t: t.pop(Q_PROJ), f"tensor {Q_PROJ} is missing"),
    (
        lambda t: t.update({Q_PROJ: np.zeros((128, 64), np.float32)}),
        rf"tensor {Q_PROJ} must have shape \[128, 128\], not \[128, 64\]",
    ),
    (
        lambda t: t.update({NORM: np.zeros(128, np.float64)}),
        f"tensor {NORM} must be F16 or BF16 or F32, not F64",
    ),
    (
        lambda t: t[Q_PROJ].__setitem__((3, 5), np.nan),
        rf"tensor {Q_PROJ} must be finite, not nan at \[3, 5\]",
    ),
    (
        lambda t: t[Q_PROJ].__setitem__((3, 5), 7e4),
        rf"tensor {Q_PROJ} must be from -65504 to 65504 .* not 70000\.0 at \[3, 5\]",
    ),
    (
        lambda t: t.update({"model.layers.0.self_attn.q_norm.weight": np.ones(64, np.float32)}),
        "tensors must be those of the architecture and its routers, not .*q_norm.weight",
    ),
    (
        lambda t: t.update({"model.layers.0.self_attn.q_proj.bias": np.ones(128, np.float32)}),
        "tensors must be those of the architecture and its routers, not .*q_proj.bias",
    ),
    (
        lambda t: t.update({"model.layers.0.layer_router.weight": np.ones((2, 128), np.float32)}),
        "routers of whole layers must come with a policy",
    ),
]


@pytest.mark.parametrize(("change", "message"), BAD)
def test_a_bad_tensor_is_named_and_nothing_is_left(
    save: Save,
    tensors: Tensors,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Tensors], Any],
    message: str,
) -> None:
    monkeypatch.setattr(tensor_file, "BLOCK_ELEMENTS", 128)
    change(tensors)
    folder = save(tensors)
    with pytest.raises(InputError, match=message):
        import_model(folder, tmp_path / "made")
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architectures": ["Qwen3ForCausalLM"]}, "architectures must be one of Llama"),
        ({"architectures": ["GPT2LMHeadModel"]}, "architectures must be one of Llama"),
        ({"hidden_act": "gelu"}, "hidden_act must be 'silu', not 'gelu'"),
        ({"attention_bias": True}, "attention_bias must be False, not True"),
        ({"rope_scaling": {"type": "yarn"}}, "rope_type must be 'default' or 'llama3', not 'yarn'"),
        ({"architectures": ["MistralForCausalLM"], "sliding_window": 16}, "sliding_window must be"),
        ({"num_hidden_layers": None}, "key num_hidden_layers is missing"),
        ({"num_hidden_layers": 3}, r"tensor model\.layers\.2\.input_layernorm\.weight is missing"),
    ],
)
def test_an_architecture_that_is_not_handled_is_refused(
    save: Save, tensors: Tensors, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        import_model(save(tensors, **changes), tmp_path / "made")


def test_a_truncated_file_is_refused(save: Save, tensors: Tensors, tmp_path: Path) -> None:
    folder = save(tensors)
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"model\.safetensors: must be a whole safetensors file"):
        import_model(folder, tmp_path / "made")


def test_the_weights_file_must_be_the_only_one(
    save: Save, tensors: Tensors, tmp_path: Path
) -> None:
    folder = save(tensors)
    (folder / "model.safetensors").rename(folder / "other.safetensors")
    assert import_model(folder, tmp_path / "made").has_master
    (folder / "second.safetensors").write_bytes(b"")
    with pytest.raises(InputError, match=r"or one other safetensors file, not 2: pickled weights"):
        import_model(folder, tmp_path / "again")


def test_mistral_and_qwen2_keep_what_they_compute(
    save: Save, tensors: Tensors, tmp_path: Path, shape: ModelShape
) -> None:
    model = import_model(
        save(tensors, architectures=["MistralForCausalLM"], sliding_window=None),
        tmp_path / "mistral",
    )
    assert model.shape == shape
    random = np.random.default_rng(4)
    for layer in range(shape.layers):
        for letter, width in (("q", 128), ("k", 64), ("v", 64)):
            name = f"model.layers.{layer}.self_attn.{letter}_proj.bias"
            tensors[name] = random.standard_normal(width).astype("<f2").astype("<f4")
    model = import_model(save(tensors, architectures=["Qwen2ForCausalLM"]), tmp_path / "qwen2")
    assert model.shape == replace(shape, qkv_bias=True)
    name = "model.layers.1.self_attn.k_proj.bias"
    np.testing.assert_array_equal(model.tensor(name), tensors[name])
