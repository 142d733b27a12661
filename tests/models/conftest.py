"""A small model folder with random weights, ways to damage it, and a KV memory made to measure."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from hwroute.checkpoint import matrix_shapes, router_shapes, vector_shapes
from hwroute.config import KVConfig
from hwroute.models.folder import INT4_FORMAT
from hwroute.models.folder_writer import write_folder
from hwroute.models.library import named_policy
from hwroute.models.ops.kv_directory import Entry, KVDirectory
from hwroute.models.ops.kv_rounds import HistoryBuffer
from hwroute.models.random_weights import RandomCheckpoint
from hwroute.shape import ModelShape

Tensors = dict[str, NDArray[Any]]


@pytest.fixture(scope="session")
def random_model() -> RandomCheckpoint:
    """Return the weights in `folder`: two layers of width 128, routed, the head tied."""
    shape = ModelShape(
        dim=128,
        layers=2,
        heads=2,
        kv_heads=1,
        head_dim=64,
        ffn_dim=128,
        vocab=128,
        context=32,
        tied=True,
    )
    return RandomCheckpoint(shape, named_policy("skipgpt"), seed=7)


@pytest.fixture
def folder(tmp_path: Path, random_model: RandomCheckpoint) -> Path:
    """Return a folder that holds `random_model`."""
    shape, path = random_model.shape, tmp_path / "model"
    matrices = matrix_shapes(shape)
    names = matrices | vector_shapes(shape) | router_shapes(shape, random_model.policy)
    settings = {"tokenizer": "ascii", "routers": True, "kv": "reuse", "seed": 7}
    tensors = {name: random_model.tensor(name) for name in names}
    int4 = {name: random_model.int4(name) for name in matrices}
    write_folder(path, shape, tensors, settings=settings, int4=int4)
    return path


@pytest.fixture
def edit_settings(folder: Path) -> Callable[..., None]:
    """Return what changes keys of the table `hwroute`; None removes one."""

    def edit(**changes: Any) -> None:
        config = json.loads((folder / "config.json").read_text())
        table = config["hwroute"] | changes
        config["hwroute"] = {key: value for key, value in table.items() if value is not None}
        (folder / "config.json").write_text(json.dumps(config))

    return edit


@pytest.fixture
def write_tensors() -> Callable[[Path, Mapping[str, tuple[str, NDArray[Any]]]], None]:
    """Return what writes a safetensors file of any element types, from arrays of their bytes."""

    def write(path: Path, tensors: Mapping[str, tuple[str, NDArray[Any]]]) -> None:
        header, data = {}, b""
        for name, (dtype, array) in tensors.items():
            raw = array.tobytes()
            place = [len(data), len(data) + len(raw)]
            header[name] = {"dtype": dtype, "shape": array.shape, "data_offsets": place}
            data += raw
        text = json.dumps(header).encode()
        path.write_bytes(len(text).to_bytes(8, "little") + text + data)

    return write


@pytest.fixture
def edit_tensors(folder: Path) -> Callable[[str, Callable[[Tensors], object]], None]:
    """Return what rewrites a safetensors file after a change to its tensors."""

    def edit(file: str, change: Callable[[Tensors], object]) -> None:
        path = folder / f"{file}.safetensors"
        tensors = load_file(path)
        change(tensors)
        save_file(tensors, path, metadata={"format": INT4_FORMAT} if file == "int4" else None)

    return edit


class FixedDirectory(KVDirectory):
    """A directory that answers what a test says."""

    def __init__(self, config: KVConfig, layers: list[list[Entry]], reused: list[list[bool]]):
        super().__init__(config)
        self.layers = layers
        self.bits = reused

    def entries(self, layer: int, count: int) -> list[Entry]:
        return self.layers[layer][:count]

    def reused(self, layer: int, count: int) -> Any:
        return np.array(self.bits[layer][:count], bool)


@pytest.fixture(scope="session")
def history_of() -> Callable[[KVConfig, list[list[Entry]], list[list[bool]]], HistoryBuffer]:
    """Return what makes a history buffer over the entries, and who reuses them, of each layer."""
    return lambda config, layers, reused: HistoryBuffer(
        config, FixedDirectory(config, layers, reused)
    )
