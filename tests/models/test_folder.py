"""A model folder gives back the weights, routing and identity that were written."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file

from hwroute.checkpoint import EMBEDDING, HEAD, Checkpoint, Int4Weights, matrix_shapes
from hwroute.errors import InputError
from hwroute.hf_config import shape_to_hf
from hwroute.models import library
from hwroute.models.folder import ModelFolder, unpack_int4
from hwroute.models.folder_writer import pack_int4, write_folder
from hwroute.models.library import model_path, named_policy, zoo_names
from hwroute.models.random_weights import RandomCheckpoint
from hwroute.models.tokenizer import AsciiTokenizer
from hwroute.policy_terms import KVRule

ROUTER = "model.layers.1.attn_router.weight"
Q_PROJ = "model.layers.1.self_attn.q_proj.weight"
NORM = "model.layers.0.input_layernorm.weight"
Edit = Callable[..., None]
Tensors = dict[str, NDArray[Any]]
WriteTensors = Callable[[Path, dict[str, tuple[str, NDArray[Any]]]], None]


def test_folder_is_a_checkpoint_with_the_weights_written(
    folder: Path, random_model: RandomCheckpoint
) -> None:
    source = random_model
    model: Checkpoint = ModelFolder(folder, "mine")
    assert (model.name, model.shape, model.policy) == ("mine", source.shape, source.policy)
    for name in matrix_shapes(source.shape):
        found, expected = model.int4(name), source.int4(name)
        np.testing.assert_array_equal(found.values, expected.values)
        np.testing.assert_array_equal(found.scales, expected.scales)
        assert found.group == 128
    for name in (EMBEDDING, NORM, ROUTER):
        np.testing.assert_array_equal(model.fp16(name), source.fp16(name))
        np.testing.assert_array_equal(model.tensor(name), source.tensor(name))
    assert model.tensor(Q_PROJ).dtype == np.float32
    np.testing.assert_array_equal(model.tensor(HEAD), model.tensor(EMBEDDING))
    assert model.tokenizer is not None
    assert model.tokenizer.encode("a~") == [97, 126]


def test_nibbles_unpack_in_order_and_sign() -> None:
    packed = np.array([[0x80, 0x7F], [0x01, 0xFE]], np.uint8)
    assert unpack_int4(packed).tolist() == [[0, -8, -1, 7], [1, 0, -2, -1]]
    every = np.arange(256, dtype=np.uint8)[None]
    np.testing.assert_array_equal(pack_int4(unpack_int4(every)), every)


def test_dequantised_weights_are_value_times_scale_of_the_group() -> None:
    scales = np.array([[0.5, 2.0]], np.float16).view(np.uint16)
    weights = Int4Weights(values=np.array([[1, -8, 7, 3]], np.int8), scales=scales, group=2)
    assert weights.dequantised().tolist() == [[0.5, -4.0, 14.0, 6.0]]
    # The last group may be shorter.
    weights = Int4Weights(values=np.array([[1, -8, 7, 3]], np.int8), scales=scales, group=3)
    assert weights.dequantised().tolist() == [[0.5, -4.0, 3.5, 6.0]]


@pytest.mark.parametrize(
    ("values", "scales", "error", "message"),
    [
        (np.zeros((1, 4)), np.zeros((1, 2), np.uint16), TypeError, r"values must be int8 \[out"),
        (
            np.full((1, 4), 8, np.int8),
            np.zeros((1, 2), np.uint16),
            ValueError,
            "values must be from -8 to 7",
        ),
        (
            np.zeros((1, 4), np.int8),
            np.zeros((2, 2), np.uint16),
            TypeError,
            r"scales must be uint16 \[1, groups\], not uint16 \(2, 2\)",
        ),
        (
            np.zeros((1, 4), np.int8),
            np.zeros((1, 3), np.uint16),
            ValueError,
            "scales must have 2 groups for 4 columns in groups of 2, not 3",
        ),
    ],
)
def test_bad_int4_weights(values: Any, scales: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Int4Weights(values=values, scales=scales, group=2)


@pytest.mark.parametrize(
    ("kv", "routers", "policy"),
    [
        ("reuse", True, "skipgpt"),
        ("dense", True, "skipgpt-dense-kv"),
        ("dense", None, "skipgpt-dense-kv"),
        ("reuse", False, "off"),
        (None, False, "off"),
    ],
)
def test_policy_follows_from_config(
    folder: Path, kv: str | None, routers: bool | None, policy: str, edit_settings: Edit
) -> None:
    edit_settings(kv=kv, routers=routers)
    assert ModelFolder(folder).policy.name == policy


def test_routing_file_wins(folder: Path, edit_settings: Edit) -> None:
    text = (library.POLICIES / "skipgpt-dense-kv.toml").read_text()
    (folder / "routing.toml").write_text(text)
    with pytest.raises(InputError, match=r"hwroute.kv must be absent or agree with routing\.toml"):
        ModelFolder(folder)
    edit_settings(kv=None)
    assert ModelFolder(folder).policy.kv is KVRule.DENSE


def test_another_policy_takes_the_place_of_the_folders_own(folder: Path) -> None:
    policy = named_policy("off")
    assert ModelFolder(folder, policy=policy).policy == policy
    assert ModelFolder(folder, policy=policy).hash != ModelFolder(folder).hash
    with pytest.raises(InputError, match=r"attn_router\.0\.weight is missing"):
        ModelFolder(folder, policy=named_policy("informed-routing"))
    with pytest.raises(InputError, match="layers must be from 0 to 1 for this model, not 2"):
        ModelFolder(folder, policy=named_policy("latched-layers"))


def test_hash_covers_every_file(folder: Path, edit_settings: Edit, edit_tensors: Edit) -> None:
    hashes = [ModelFolder(folder).hash, ModelFolder(folder).hash]
    assert hashes[0] == hashes[1]
    edit_tensors("int4", lambda t: t[Q_PROJ + "_q"].__setitem__((0, 0), 1))
    hashes.append(ModelFolder(folder).hash)
    edit_tensors("model", lambda t: t[NORM].__setitem__(0, 3))
    hashes.append(ModelFolder(folder).hash)
    edit_settings(seed=8)
    hashes.append(ModelFolder(folder).hash)
    edit_settings(kv=None)
    (folder / "routing.toml").write_text((library.POLICIES / "skipgpt.toml").read_text())
    hashes.append(ModelFolder(folder).hash)
    assert len(set(hashes)) == 5


def test_a_folder_from_hugging_face_has_no_routing(
    folder: Path, random_model: RandomCheckpoint, edit_tensors: Edit
) -> None:
    (folder / "config.json").write_text(json.dumps(shape_to_hf(random_model.shape)))
    edit_tensors("model", drop_routers)
    (folder / "int4.safetensors").unlink()
    model = ModelFolder(folder)
    assert (model.policy.name, model.tokenizer, model.has_int4) == ("off", None, False)
    with pytest.raises(InputError, match=r"must hold int4\.safetensors to run on INT4 weights"):
        model.int4(Q_PROJ)
    with pytest.raises(InputError, match=r"must hold int4\.safetensors"):
        model.fp16(NORM)


def test_int4_weights_stand_alone(folder: Path) -> None:
    whole = ModelFolder(folder)
    expected = {name: whole.int4(name) for name in matrix_shapes(whole.shape)}
    norm = whole.tensor(NORM)
    (folder / "model.safetensors").unlink()
    model = ModelFolder(folder)
    assert (model.has_master, model.has_int4, model.policy) == (False, True, whole.policy)
    np.testing.assert_array_equal(model.tensor(NORM), norm)
    np.testing.assert_array_equal(model.tensor(HEAD), model.tensor(EMBEDDING))
    np.testing.assert_array_equal(model.tensor(Q_PROJ), expected[Q_PROJ].dequantised())
    with pytest.raises(InputError, match=r"must hold model\.safetensors to be read in blocks"):
        next(model.blocks(NORM))


def test_bfloat16_weights_are_read_exactly(folder: Path, write_tensors: WriteTensors) -> None:
    path = folder / "model.safetensors"
    wide = {name: value.astype("<f4").view("<u4") for name, value in load_file(path).items()}
    write_tensors(
        path, {name: ("BF16", (value >> 16).astype("<u2")) for name, value in wide.items()}
    )
    model = ModelFolder(folder)
    for name, value in wide.items():
        np.testing.assert_array_equal(model.tensor(name), (value & 0xFFFF0000).view(np.float32))


def drop_routers(tensors: Tensors) -> None:
    for name in [name for name in tensors if "_router" in name]:
        del tensors[name]


def test_models_are_found_by_zoo_name_or_path(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert model_path(str(folder)) == folder
    monkeypatch.setattr(library, "ZOO", folder.parent)
    assert zoo_names() == [folder.name]
    assert model_path(folder.name) == folder
    with pytest.raises(InputError, match=rf"model must be a folder .* did you mean '{folder.name}"):
        model_path(folder.name + "x")


def test_ascii_tokenizer_names_what_it_cannot_hold() -> None:
    tokenizer = AsciiTokenizer()
    text = "".join(map(chr, range(128)))
    assert tokenizer.encode(text) == list(range(128))
    assert tokenizer.decode(list(range(128))) == text
    with pytest.raises(InputError, match=r"not 'é' \(U\+00E9\) at position 3"):
        tokenizer.encode("caf\u00e9")
    with pytest.raises(InputError, match=r"from 0 to 127 .* not 128 at position 1"):
        tokenizer.decode([0, 128])


def test_writer_refuses_what_float16_cannot_hold(
    tmp_path: Path, random_model: RandomCheckpoint
) -> None:
    for value in (65505.0, np.nan):
        tensors = {NORM: np.array([1.0, value], np.float32)}
        with pytest.raises(InputError, match=rf"{NORM} must be from -65504 .* {value} at \[1\]"):
            write_folder(tmp_path, random_model.shape, tensors, settings={})
