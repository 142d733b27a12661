"""Writing model folders (docs/model-folder.md); `hwroute.models.folder` reads them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from hwroute.checkpoint import HEAD, Floats, Int4Weights
from hwroute.errors import InputError
from hwroute.hf_config import shape_to_hf
from hwroute.models.folder import CONFIG, FORMAT, INT4, INT4_FORMAT, MASTER, scale_name
from hwroute.shape import ModelShape


def write_folder(
    path: Path,
    shape: ModelShape,
    tensors: Mapping[str, Floats],
    *,
    settings: Mapping[str, Any],
    int4: Mapping[str, Int4Weights] | None = None,
) -> None:
    """Write a model folder that `ModelFolder` reads.

    Parameters
    ----------
    path, shape
        The folder, which is made, and the model's shape.
    tensors
        Every tensor of the unquantised model; rounded to float16, nearest even.
    settings
        Keys of the table `hwroute` but `format`: `tokenizer`, `routers`, `kv`.
    int4
        The matrices on the INT4 grid, or None.

    Raises
    ------
    InputError
        A value is NaN or too large for float16.
    """
    path.mkdir(parents=True, exist_ok=True)
    config = shape_to_hf(shape) | {"hwroute": {"format": FORMAT, **settings}}
    (path / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    kept = {name: _half(name, tensor) for name, tensor in tensors.items()}
    if shape.tied:
        kept.pop(HEAD, None)
    save_file(kept, path / MASTER)
    if int4 is not None:
        packed: dict[str, NDArray[Any]] = {
            name: tensor for name, tensor in kept.items() if name not in int4
        }
        for name, weights in int4.items():
            packed[name + "_q"] = pack_int4(weights.values)
            packed[scale_name(name)] = weights.scales.view(np.float16)
        save_file(packed, path / INT4, metadata={"format": INT4_FORMAT})


def pack_int4(values: NDArray[np.int8]) -> NDArray[np.uint8]:
    """Pack int8 [out, in] from -8 to 7 as `unpack_int4` reads it: uint8 [out, in / 2]."""
    nibbles: NDArray[Any] = values.view(np.uint8) & 0xF
    packed: NDArray[np.uint8] = nibbles[:, 0::2] | nibbles[:, 1::2] << 4
    return packed


def _half(name: str, tensor: Floats) -> NDArray[np.float16]:
    largest = float(np.finfo(np.float16).max)
    # Written so that NaN is beyond too. From 65520 on float16 rounds to infinity.
    beyond = ~(np.abs(tensor) <= largest)
    if beyond.any():
        index = np.argwhere(beyond)[0]
        raise InputError(
            f"tensor {name} must be from -65504 to 65504 to be stored as float16, "
            f"not {tensor[tuple(index)]} at {index.tolist()}"
        )
    return tensor.astype(np.float16)
