"""Matrices in GPTQ's 4 bits come in to the last bit, or are refused by name."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hwroute.api import import_model
from hwroute.checkpoint import EMBEDDING, HEAD, matrix_shapes
from hwroute.errors import InputError
from hwroute.models.importing.gptq_layout import nibbles
from hwroute.models.quantize import round_to_nearest
from hwroute.models.reference import Reference
from hwroute.shape import ModelShape

Tensors = dict[str, NDArray[Any]]
Save = Callable[..., Path]
DOWN = "model.layers.1.mlp.down_proj."
SETTINGS = {"quant_method": "gptq", "bits": 4, "group_size": 128, "sym": True, "desc_act": False}


def packed(nibbles: NDArray[Any], axis: int) -> NDArray[np.int32]:
    """Pack eight values a word along an axis, low nibble first."""
    lanes = np.moveaxis(nibbles.astype(np.uint32), axis, 0)
    words = np.zeros((len(lanes) // 8, lanes.shape[1]), np.uint32)
    for place in range(8):
        words |= lanes[place::8] << np.uint32(4 * place)
    return np.ascontiguousarray(np.moveaxis(words.view(np.int32), 0, axis))


@pytest.fixture
def grid(shape: ModelShape) -> dict[str, tuple[NDArray[Any], NDArray[Any]]]:
    """Return q [in, out] from 0 to 15 and scales [groups, out] of every matrix but the head."""
    random = np.random.default_rng(8)
    made = {}
    for name, (rows, columns) in matrix_shapes(shape).items():
        if name != HEAD:
            q = random.integers(0, 16, (columns, rows))
            scales = random.uniform(0.01, 0.03, (columns // 128, rows)).astype(np.float16)
            made[name] = (q, scales)
    return made


@pytest.fixture
def quantised(grid: dict[str, tuple[NDArray[Any], NDArray[Any]]], tensors: Tensors) -> Tensors:
    """Return the tensors of a GPTQ checkpoint, the first version of the format."""
    for name, (q, scales) in grid.items():
        del tensors[name]
        start = name.removesuffix("weight")
        zeros = np.full((len(scales), q.shape[1]), 8 - 1)
        tensors[start + "qweight"] = packed(q, 0)
        tensors[start + "qzeros"] = packed(zeros, 1)
        tensors[start + "scales"] = scales
        tensors[start + "g_idx"] = (np.arange(len(q)) // 128).astype(np.int32)
    return tensors


def test_nibbles_come_low_ones_first() -> None:
    words = np.array([[0x76543210, 0x0EDCBA98]], np.uint32).view(np.int32)
    assert nibbles(words, axis=1).tolist() == [[*range(8), *range(8, 15), 0]]
    assert nibbles(words, axis=0).T.tolist() == [[*range(8)], [*range(8, 15), 0]]
    assert nibbles(np.array([[-1]], np.int32), axis=1).tolist() == [[15] * 8]


def test_weights_are_the_checkpoints_to_the_last_bit(
    save: Save,
    quantised: Tensors,
    grid: dict[str, tuple[NDArray[Any], NDArray[Any]]],
    tmp_path: Path,
) -> None:
    model = import_model(save(quantised, quantization_config=SETTINGS), tmp_path / "made")
    assert (model.has_master, model.has_int4) == (False, True)
    for name, (q, scales) in grid.items():
        found = model.int4(name)
        np.testing.assert_array_equal(found.values, q.T - 8)
        np.testing.assert_array_equal(found.scales.view(np.float16), scales.T)
        weights = (q.T - 8) * np.repeat(scales.T.astype(np.float32), 128, axis=1)
        np.testing.assert_array_equal(model.tensor(name), weights)
    np.testing.assert_array_equal(model.tensor(EMBEDDING), quantised[EMBEDDING])
    expected = round_to_nearest(quantised[HEAD], 128)
    np.testing.assert_array_equal(model.int4(HEAD).values, expected.values)
    assert np.isfinite(Reference(model, weights="int4").forward([1, 2, 3])).all()


def test_settings_in_a_file_and_the_second_version_give_the_same(
    save: Save, quantised: Tensors, tmp_path: Path
) -> None:
    first = import_model(save(quantised, quantization_config=SETTINGS), tmp_path / "first")
    for name, value in quantised.items():
        if name.endswith("qzeros"):
            quantised[name] = packed(np.full((len(value), value.shape[1] * 8), 8), 1)
    folder = save(quantised)
    settings = {"bits": 4, "group_size": 128, "checkpoint_format": "gptq_v2"}
    (folder / "quantize_config.json").write_text(json.dumps(settings))
    second = import_model(folder, tmp_path / "second", name="first")
    assert second.hash == first.hash


def test_an_imported_folder_can_not_be_quantised_again(
    save: Save, quantised: Tensors, tmp_path: Path
) -> None:
    model = import_model(save(quantised, quantization_config=SETTINGS), tmp_path / "made")
    with pytest.raises(InputError, match=r"must hold model\.safetensors to be quantised again"):
        import_model(model.path, tmp_path / "again")


def test_a_scale_that_the_machine_reads_as_zero_is_rounded_up(
    save: Save, quantised: Tensors, tmp_path: Path
) -> None:
    scales = quantised[DOWN + "scales"]
    scales[1, 5], scales[0, 7] = np.float16(2.0**-15), np.float16(0)
    model = import_model(save(quantised, quantization_config=SETTINGS), tmp_path / "made")
    found = model.int4(DOWN + "weight")
    q = nibbles(quantised[DOWN + "qweight"], axis=0).T.astype(int)
    assert (found.scales.view(np.float16)[[5, 7], [1, 0]] == np.float16(2.0**-14)).all()
    np.testing.assert_array_equal(found.values[5, 128:], np.rint((q[5, 128:] - 8) / 2))
    assert not found.values[7, :128].any()
    np.testing.assert_array_equal(found.values[5, :128], q[5, :128] - 8)


def zero_point(tensors: Tensors, value: int) -> None:
    tensors[DOWN + "qzeros"] = packed(np.full((2, 128), value), 1)


BAD: list[tuple[Callable[[Tensors], Any], str]] = [
    (
        lambda t: zero_point(t, 8),
        rf"tensor {DOWN}qzeros must be a zero point of 8, .* asymmetric, not 9 at \[0, 0\]",
    ),
    (lambda t: zero_point(t, 15), "must be a zero point of 8, .* not 0"),
    (
        lambda t: t[DOWN + "g_idx"].__setitem__(3, 1),
        rf"{DOWN}g_idx must give 128 inputs in order to a group \(desc_act\), not 1 at \[3\]",
    ),
    (
        lambda t: t[DOWN + "scales"].__setitem__((1, 2), np.nan),
        rf"tensor {DOWN}scales must be finite, not nan at \[1, 2\]",
    ),
    (
        lambda t: t[DOWN + "scales"].__setitem__((1, 2), -1),
        rf"tensor {DOWN}scales must be above zero, not -1\.0 at \[1, 2\]",
    ),
    (
        lambda t: t.update({DOWN + "qweight": np.zeros((16, 128), np.int32)}),
        rf"tensor {DOWN}qweight must have shape \[32, 128\], not \[16, 128\]",
    ),
    (lambda t: t.pop(DOWN + "scales"), f"tensor {DOWN}scales is missing"),
    (
        lambda t: t.update({DOWN + "scales": t[DOWN + "scales"].astype(np.float32)}),
        f"tensor {DOWN}scales must be F16, not F32",
    ),
    (lambda t: t.pop(DOWN + "qweight"), f"tensor {DOWN}weight is missing"),
]


@pytest.mark.parametrize(("change", "message"), BAD)
def test_a_bad_tensor_is_named_and_nothing_is_left(
    save: Save, quantised: Tensors, tmp_path: Path, change: Callable[[Tensors], Any], message: str
) -> None:
    change(quantised)
    folder = save(quantised, quantization_config=SETTINGS)
    with pytest.raises(InputError, match=message):
        import_model(folder, tmp_path / "made")
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"quant_method": "awq"}, "quantization_config: quant_method must be 'gptq', not 'awq'"),
        ({"bits": 8}, "bits must be 4, not 8"),
        ({"bits": None}, "bits must be 4, not None"),
        ({"group_size": 32}, "group_size must be 128, not 32"),
        ({"group_size": -1}, "group_size must be 128, not -1"),
        ({"sym": False}, "sym must be True, not False"),
        ({"checkpoint_format": "marlin"}, "checkpoint_format must be one of gptq, gptq_v2, not"),
    ],
)
def test_a_grid_that_the_machine_does_not_have_is_refused(
    save: Save, quantised: Tensors, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    folder = save(quantised, quantization_config=SETTINGS | changes)
    with pytest.raises(InputError, match=message):
        import_model(folder, tmp_path / "made")


def test_the_settings_must_be_a_table(save: Save, quantised: Tensors, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="quantization_config must be a table, not 4"):
        import_model(save(quantised, quantization_config=4), tmp_path / "made")


@pytest.mark.parametrize("method", ["none", "gptq"])
def test_what_is_quantised_is_not_quantised_otherwise(
    save: Save, quantised: Tensors, tmp_path: Path, method: Any
) -> None:
    folder = save(quantised, quantization_config=SETTINGS)
    text = tmp_path / "ids.txt"
    text.write_text("1,2,3")
    with pytest.raises(InputError, match=f"quantize must be 'rtn' for .*, not '{method}'"):
        import_model(
            folder,
            tmp_path / "made",
            quantize=method,
            calibration=text if method == "gptq" else None,
        )


def test_order_of_groups_decides_and_not_what_the_settings_say(
    save: Save, quantised: Tensors, tmp_path: Path
) -> None:
    plain = import_model(save(quantised, quantization_config=SETTINGS), tmp_path / "plain")
    reordered = SETTINGS | {"desc_act": True}
    model = import_model(
        save(quantised, quantization_config=reordered), tmp_path / "made", name="plain"
    )
    assert model.hash == plain.hash
    for name in [name for name in quantised if name.endswith("g_idx")]:
        del quantised[name]
    model = import_model(
        save(quantised, quantization_config=SETTINGS), tmp_path / "without", name="plain"
    )
    assert model.hash == plain.hash
    with pytest.raises(InputError, match="g_idx is missing"):
        import_model(save(quantised, quantization_config=reordered), tmp_path / "refused")
