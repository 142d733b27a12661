"""Writing model folders (docs/model-folder.md); `hwroute.models.folder` reads them."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwroute.checkpoint import HEAD, Floats, Int4Weights, groups_of
from hwroute.errors import InputError
from hwroute.hf_config import shape_to_hf
from hwroute.models.folder import GROUP, INT4_FORMAT, scale_name
from hwroute.models.folder_config import CONFIG, FORMAT, INT4, MASTER
from hwroute.models.tensor_writer import TensorWriter
from hwroute.shape import ModelShape

Shapes = Mapping[str, tuple[int, ...]]


def write_folder(
    path: Path,
    shape: ModelShape,
    tensors: Mapping[str, Floats],
    *,
    settings: Mapping[str, Any],
    int4: Mapping[str, Int4Weights] | None = None,
) -> None:
    """Write a model folder that `ModelFolder` reads, from arrays.

    Parameters
    ----------
    path, shape
        The folder, which is made, and the model's shape.
    tensors
        Every tensor of the unquantised model; rounded to float16, nearest even.
    settings
        As `write_config` takes them.
    int4
        The matrices on the INT4 grid, or None.

    Raises
    ------
    InputError
        A value is NaN or too large for float16.
    """
    path.mkdir(parents=True, exist_ok=True)
    write_config(path, shape, settings)
    kept = {name: value for name, value in tensors.items() if name != HEAD or not shape.tied}
    write_master(path, {name: value.shape for name, value in kept.items()}, kept.items())
    if int4 is not None:
        vectors = {name: value for name, value in kept.items() if name not in int4}
        write_int4(
            path,
            {name: value.shape for name, value in vectors.items()},
            {name: weights.values.shape for name, weights in int4.items()},
            [*vectors.items(), *int4.items()],
        )


def write_config(path: Path, shape: ModelShape, settings: Mapping[str, Any]) -> None:
    """Write the configuration of the model folder `path`.

    `settings` are the keys of the table `hwroute` but `format`: `tokenizer`, `routers`, `kv`.
    """
    config = shape_to_hf(shape) | {"hwroute": {"format": FORMAT, **settings}}
    (path / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def write_master(path: Path, shapes: Shapes, blocks: Iterable[tuple[str, Floats]]) -> None:
    """Write the unquantised weights of the model folder `path` as float16.

    Parameters
    ----------
    path
        The folder.
    shapes
        Of every tensor.
    blocks
        Names, each with rows of its tensor in order; rounded to nearest even.

    Raises
    ------
    InputError
        A value is NaN or too large for float16.
    """
    types = {name: ("F16", shape) for name, shape in shapes.items()}
    with TensorWriter(path / MASTER, types) as file:
        for name, block in blocks:
            file.write(name, _half(name, block, file.rows(name)))


def write_int4(
    path: Path, vectors: Shapes, matrices: Shapes, blocks: Iterable[tuple[str, Any]]
) -> None:
    """Write what the machine computes with into the model folder `path`.

    Parameters
    ----------
    path
        The folder.
    vectors, matrices
        Shapes of what stays float16, and of what becomes INT4.
    blocks
        Names, each with rows of its tensor in order: float arrays of vectors, rounded to nearest
        even, `Int4Weights` in groups of `GROUP` of matrices.

    Raises
    ------
    InputError
        A value is NaN or too large for float16.
    """
    types: dict[str, tuple[str, tuple[int, ...]]] = {}
    for name, shape in vectors.items():
        types[name] = ("F16", shape)
    for name, (rows, columns) in matrices.items():
        types[name + "_q"] = ("U8", (rows, -(-columns // 2)))
        types[scale_name(name)] = ("F16", (rows, groups_of(columns, GROUP)))
    with TensorWriter(path / INT4, types, {"format": INT4_FORMAT}) as file:
        for name, block in blocks:
            if isinstance(block, Int4Weights):
                file.write(name + "_q", pack_int4(block.values))
                file.write(scale_name(name), block.scales.view(np.float16))
            else:
                file.write(name, _half(name, block, file.rows(name)))


def pack_int4(values: NDArray[np.int8]) -> NDArray[np.uint8]:
    """Pack int8 [out, in] from -8 to 7 as `unpack_int4` reads it: uint8 [out, ceil(in / 2)]."""
    nibbles: NDArray[Any] = values.view(np.uint8) & 0xF
    if nibbles.shape[1] % 2:
        nibbles = np.pad(nibbles, [(0, 0), (0, 1)])
    packed: NDArray[np.uint8] = nibbles[:, 0::2] | nibbles[:, 1::2] << 4
    return packed


def _half(name: str, rows: Floats, first_row: int) -> NDArray[np.float16]:
    largest = float(np.finfo(np.float16).max)
    # Written so that NaN is beyond too. From 65520 on float16 rounds to infinity.
    beyond = ~(np.abs(rows) <= largest)
    if beyond.any():
        index = np.argwhere(beyond)[0]
        raise InputError(
            f"tensor {name} must be from -65504 to 65504 to be stored as float16, "
            f"not {rows[tuple(index)]} at {[int(index[0]) + first_row, *index[1:].tolist()]}"
        )
    return rows.astype(np.float16)
