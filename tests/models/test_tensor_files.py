"""Safetensors files are written and read some rows at a time, and broken ones are refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from hwroute.errors import InputError
from hwroute.models import tensor_file
from hwroute.models.tensor_file import TensorFile, row_blocks
from hwroute.models.tensor_writer import TensorWriter

RANDOM = np.random.default_rng(11)
TENSORS: dict[str, NDArray[Any]] = {
    "bytes": RANDOM.integers(0, 256, (3, 5), dtype=np.uint8),
    "wide": RANDOM.standard_normal((7, 6)).astype(np.float32),
    "halves": RANDOM.standard_normal((9, 4)).astype(np.float16),
    "vector": RANDOM.standard_normal(11).astype(np.float16),
}
TYPES = {"bytes": "U8", "wide": "F32", "halves": "F16", "vector": "F16"}
WriteTensors = Callable[[Path, dict[str, tuple[str, NDArray[Any]]]], None]


def layout() -> dict[str, tuple[str, tuple[int, ...]]]:
    return {name: (TYPES[name], array.shape) for name, array in TENSORS.items()}


def test_rows_written_by_turns_are_the_file_that_the_package_reads(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    with TensorWriter(path, layout(), {"format": "x/1"}) as file:
        for start in range(0, 12, 2):
            for name, array in TENSORS.items():
                if start < len(array):
                    file.write(name, array[start : start + 2])
    found = load_file(path)
    assert found.keys() == TENSORS.keys()
    for name, array in TENSORS.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)
    with safe_open(path, framework="numpy") as opened:
        assert opened.metadata() == {"format": "x/1"}


def test_every_tensor_is_aligned_to_its_elements(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    with TensorWriter(path, layout()) as file:
        for name, array in TENSORS.items():
            file.write(name, array)
    for entry in TensorFile(path).entries.values():
        assert entry.offset % {"F32": 4, "F16": 2, "U8": 1}[entry.dtype] == 0


def test_a_tensor_of_another_type_or_length_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    file = TensorWriter(path, layout())
    with pytest.raises(TypeError, match="wide must be F32, not float64"):
        file.write("wide", TENSORS["wide"].astype(np.float64))
    file.write("bytes", TENSORS["bytes"][:2])
    assert (file.rows("bytes"), file.rows("wide")) == (2, 0)
    with pytest.raises(ValueError, match="bytes must have 5 bytes left, not 15"):
        file.write("bytes", TENSORS["bytes"])
    with pytest.raises(ValueError, match="wide must be written to its end"), file:
        file.write("bytes", TENSORS["bytes"][2:])


def test_blocks_are_the_rows_of_a_tensor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_file(TENSORS, tmp_path / "a.safetensors")
    monkeypatch.setattr(tensor_file, "BLOCK_ELEMENTS", 10)
    file = TensorFile(tmp_path / "a.safetensors")
    for name, array in TENSORS.items():
        blocks = list(file.blocks(name))
        assert len(blocks) > 1
        np.testing.assert_array_equal(np.concatenate(blocks), array)
    assert list(row_blocks((7, 2), multiple=3)) == [(0, 3), (3, 6), (6, 7)]
    assert list(row_blocks((2, 100))) == [(0, 1), (1, 2)]


def test_the_index_of_a_bad_value_counts_from_the_first_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = TENSORS["halves"].copy()
    bad[6, 2] = np.inf
    save_file({"halves": bad}, tmp_path / "a.safetensors")
    monkeypatch.setattr(tensor_file, "BLOCK_ELEMENTS", 8)
    with pytest.raises(InputError, match=r"tensor halves must be finite, not inf at \[6, 2\]"):
        list(TensorFile(tmp_path / "a.safetensors").blocks("halves"))


def test_bfloat16_becomes_float32_exactly(tmp_path: Path, write_tensors: WriteTensors) -> None:
    patterns = np.arange(0, 0x7F80, dtype="<u2")
    write_tensors(tmp_path / "a.safetensors", {"x": ("BF16", patterns)})
    found = TensorFile(tmp_path / "a.safetensors").read("x")
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found.view(np.uint32), patterns.astype(np.uint32) << 16)


def sharded(folder: Path) -> Path:
    """Write `TENSORS` as two shards and return their index."""
    places = {name: f"part-{number % 2}.safetensors" for number, name in enumerate(TENSORS)}
    for shard in set(places.values()):
        part = {name: array for name, array in TENSORS.items() if places[name] == shard}
        save_file(part, folder / shard)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return index


def test_shards_read_as_one_file(tmp_path: Path) -> None:
    file = TensorFile(sharded(tmp_path))
    assert file.names == TENSORS.keys()
    for name, array in TENSORS.items():
        np.testing.assert_array_equal(file.read(name), array)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update(gone="part-0.safetensors"), r"part-0\.safetensors: tensor gone is mis"),
        (lambda m: m.update(wide="part-7.safetensors"), r"part-7\.safetensors: must be a whole"),
        (lambda m: m.update(wide="../x.safetensors"), "weight_map must name files beside it, not"),
        (lambda m: m.update(wide=3), "must be a readable JSON file with a table weight_map"),
    ],
)
def test_a_bad_index_is_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    index = sharded(tmp_path)
    places = json.loads(index.read_text())["weight_map"]
    change(places)
    index.write_text(json.dumps({"weight_map": places}))
    with pytest.raises(InputError, match=message):
        TensorFile(index)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"weight_map": 3}'])
def test_an_unreadable_index_is_refused(tmp_path: Path, text: str) -> None:
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(text)
    with pytest.raises(InputError, match="must be a readable JSON file with a table weight_map"):
        TensorFile(index)


def test_a_truncated_shard_is_refused(tmp_path: Path) -> None:
    index = sharded(tmp_path)
    shard = tmp_path / "part-1.safetensors"
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"part-1\.safetensors: must be a whole safetensors file"):
        TensorFile(index)
