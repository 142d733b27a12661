"""A damaged model folder is refused in one line that says what is wrong and where."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from hwroute.errors import InputError
from hwroute.hf_config import shape_to_hf
from hwroute.models.folder import ModelFolder
from hwroute.models.library import named_policy
from hwroute.models.random_weights import RandomCheckpoint
from hwroute.policy_file import to_toml

ROUTER = "model.layers.1.attn_router.weight"
Q_PROJ = "model.layers.1.self_attn.q_proj.weight"
NORM = "model.layers.0.input_layernorm.weight"
ROUTED = ("attn", "ffn")
Edit = Callable[..., None]
Tensors = dict[str, NDArray[Any]]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, r"config\.json: hwroute\.format must be 1, not 2"),
        ({"format": None}, r"hwroute\.format must be 1, not None"),
        ({"kv": "fresh"}, r"hwroute\.kv must be one of reuse, dense, not 'fresh'"),
        ({"kv": None}, r"key hwroute\.kv \(reuse or dense\) is missing"),
        ({"routers": 1}, r"hwroute\.routers must be true or false, not 1"),
        ({"tokeniser": "ascii"}, r"hwroute\.tokeniser must be a known key; .* 'tokenizer'"),
        (
            {"tokenizer": "asci"},
            r"tokenizer must be one of ascii, llama2c, not 'asci'; did you mean 'ascii",
        ),
    ],
)
def test_bad_settings(
    folder: Path, changes: dict[str, Any], message: str, edit_settings: Edit
) -> None:
    edit_settings(**changes)
    with pytest.raises(InputError, match=message):
        ModelFolder(folder)


def test_bad_config_file(folder: Path, random_model: RandomCheckpoint) -> None:
    (folder / "config.json").write_text("{")
    with pytest.raises(InputError, match=r"config\.json: must be a readable JSON file"):
        ModelFolder(folder)
    (folder / "config.json").write_text("[]")
    with pytest.raises(InputError, match=r"config\.json: must hold a JSON object, not \[\]"):
        ModelFolder(folder)
    (folder / "config.json").write_text(
        json.dumps(shape_to_hf(random_model.shape) | {"hwroute": 1})
    )
    with pytest.raises(InputError, match="hwroute must be a table, not 1"):
        ModelFolder(folder)


BAD_TENSORS: list[tuple[str, Callable[[Tensors], object], str]] = [
    (
        "model",
        lambda t: t.update({"model.layers.1.attn_ruoter.weight": t.pop(ROUTER)}),
        rf"tensor {ROUTER} is missing; did you mean 'model.layers.1.attn_ruoter.weight'",
    ),
    (
        "model",
        lambda t: t.update({NORM: np.zeros(127, np.float16)}),
        rf"tensor {NORM} must have shape \[128\], not \[127\]",
    ),
    (
        "model",
        lambda t: t.update({NORM: np.zeros(128, np.int16)}),
        f"tensor {NORM} must be F16 or BF16 or F32, not I16",
    ),
    (
        "int4",
        lambda t: t.update({Q_PROJ + "_q": np.zeros((128, 64), np.int8)}),
        f"tensor {Q_PROJ}_q must be U8, not I8",
    ),
    (
        "int4",
        lambda t: t.update({Q_PROJ + "_q": np.zeros((128, 128), np.uint8)}),
        rf"tensor {Q_PROJ}_q must have shape \[128, 64\], not \[128, 128\]",
    ),
    ("int4", lambda t: t.pop("lm_head.scale"), r"tensor lm_head\.scale is missing"),
    (
        "int4",
        lambda t: t.update({ROUTER: t[ROUTER].astype(np.float32)}),
        f"tensor {ROUTER} must be F16, not F32",
    ),
]


@pytest.mark.parametrize(("file", "change", "message"), BAD_TENSORS)
def test_bad_tensor_is_named(
    folder: Path, file: str, change: Callable[[Tensors], object], message: str, edit_tensors: Edit
) -> None:
    edit_tensors(file, change)
    with pytest.raises(InputError, match=rf"{file}\.safetensors: {message}"):
        ModelFolder(folder)


@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_first_value_that_is_not_finite_is_named(
    folder: Path, value: float, edit_tensors: Edit
) -> None:
    edit_tensors("model", lambda t: t[Q_PROJ].__setitem__((3, slice(5, 9)), value))
    edit_tensors("int4", lambda t: t[NORM].__setitem__(11, value))
    model = ModelFolder(folder)
    with pytest.raises(InputError, match=rf"{Q_PROJ} must be finite, not {value} at \[3, 5\]"):
        model.tensor(Q_PROJ)
    with pytest.raises(InputError, match=rf"{NORM} must be finite, not {value} at \[11\]"):
        model.fp16(NORM)


def test_a_scale_must_be_above_zero(folder: Path, edit_tensors: Edit) -> None:
    name = Q_PROJ.removesuffix(".weight") + ".scale"
    edit_tensors("int4", lambda t: t[name].__setitem__((2, 0), 0))
    with pytest.raises(InputError, match=rf"{name} must be above zero, not 0\.0 at \[2, 0\]"):
        ModelFolder(folder).int4(Q_PROJ)


@pytest.mark.parametrize("file", ["model.safetensors", "int4.safetensors"])
def test_truncated_file_is_named(folder: Path, file: str) -> None:
    data = (folder / file).read_bytes()
    for length in (len(data) - 1, len(data) // 2, 20, 4, 0):
        (folder / file).write_bytes(data[:length])
        with pytest.raises(InputError, match=f"{file}: must be a whole safetensors file: "):
            ModelFolder(folder)


def test_missing_weights_are_named(folder: Path) -> None:
    for file in ("model", "int4"):
        (folder / f"{file}.safetensors").unlink()
    with pytest.raises(InputError, match=r"model\.safetensors: must be a whole safetensors file"):
        ModelFolder(folder)


def test_int4_file_of_another_format_is_refused(folder: Path) -> None:
    tensors = load_file(folder / "int4.safetensors")
    save_file(tensors, folder / "int4.safetensors", metadata={"format": "hwroute-int4/2"})
    message = "format in the metadata must be 'hwroute-int4/1', not 'hwroute-int4/2'"
    with pytest.raises(InputError, match=message):
        ModelFolder(folder)


def test_unknown_tensor_name_gives_the_nearest(folder: Path) -> None:
    with pytest.raises(InputError, match=r"tensor model\.norm is missing; .* 'model\.norm\.weig"):
        ModelFolder(folder).tensor("model.norm")


def test_the_two_linears_of_a_router_must_fit(
    folder: Path, edit_settings: Edit, edit_tensors: Edit
) -> None:
    start = "model.layers.{}.{}_router"

    def widen(second: int) -> Callable[[Tensors], None]:
        def change(tensors: Tensors) -> None:
            for router in (start.format(layer, site) for layer in (0, 1) for site in ROUTED):
                tensors[f"{router}.0.weight"] = np.zeros((10, 128), np.float16)
                tensors[f"{router}.1.weight"] = np.zeros((2, 10), np.float16)
            tensors[start.format(1, "ffn") + ".1.weight"] = np.zeros((2, second), np.float16)

        return change

    (folder / "int4.safetensors").unlink()
    (folder / "routing.toml").write_text(to_toml(named_policy("informed-routing")))
    edit_settings(kv=None)
    edit_tensors("model", widen(10))
    assert ModelFolder(folder).tensor(start.format(1, "ffn") + ".1.weight").shape == (2, 10)
    edit_tensors("model", widen(9))
    message = r"model\.layers\.1\.ffn_router\.1\.weight must have shape \[2, 10\], not \[2, 9\]"
    with pytest.raises(InputError, match=message):
        ModelFolder(folder)
    edit_tensors("model", lambda t: t.update({start.format(1, "ffn") + ".0.weight": np.zeros(3)}))
    with pytest.raises(InputError, match=r"must have shape \[any, 128\], not \[3\]"):
        ModelFolder(folder)
