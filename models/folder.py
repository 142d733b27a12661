"""Model folders: `config.json`, float weights, INT4 weights and routing (docs/model-folder.md)."""

import hashlib
import json
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwroute.checkpoint import (
    EMBEDDING,
    HEAD,
    Floats,
    Int4Weights,
    Tokenizer,
    matrix_shapes,
    router_shapes,
    vector_shapes,
)
from hwroute.errors import InputError, nearest
from hwroute.hf_config import shape_from_hf
from hwroute.models.library import named_policy
from hwroute.models.tensor_file import TensorFile
from hwroute.models.tokenizer import make_tokenizer
from hwroute.policy import RoutingPolicy
from hwroute.policy_file import read_policy, to_toml

FORMAT = 1
"""Version of the folder's format, `hwroute.format` in `config.json`."""
INT4_FORMAT = "hwroute-int4/1"
"""Version of the INT4 file, `format` in its metadata."""
GROUP = 128
"""Input columns that share a scale."""

CONFIG, MASTER, INT4, ROUTING = (
    "config.json",
    "model.safetensors",
    "int4.safetensors",
    "routing.toml",
)
KEYS = ("format", "tokenizer", "routers", "kv", "seed")
"""What the table `hwroute` of `config.json` may hold."""
POLICY_OF_KV = {"reuse": "skipgpt", "dense": "skipgpt-dense-kv"}


class ModelFolder:
    """A checkpoint in a folder; satisfies :class:`hwroute.checkpoint.Checkpoint`.

    Names, shapes and element types are checked at once, values when they are read.

    Parameters
    ----------
    path
        The folder.
    name
        What reports call it; the folder's name by default.
    policy
        Instead of the folder's own.

    Raises
    ------
    InputError
        A file is missing, broken or of another format, or a tensor is missing, misshapen or of
        another element type.
    """

    def __init__(
        self, path: Path, name: str | None = None, *, policy: RoutingPolicy | None = None
    ) -> None:
        self.path = path
        self.name = name or path.resolve().name
        config = _read_config(path / CONFIG)
        where = str(path / CONFIG)
        self.shape = shape_from_hf(config, where)
        self._master = TensorFile(path / MASTER)
        settings = _settings(config, where)
        self._given = policy
        self.policy = policy or _policy(path, settings, self._master, where)
        self.policy.check_layers(self.shape.layers)
        tokenizer = settings.get("tokenizer")
        self.tokenizer: Tokenizer | None = (
            None if tokenizer is None else make_tokenizer(tokenizer, where)
        )
        self._routers = router_shapes(self.shape, self.policy)
        self._matrices = matrix_shapes(self.shape)
        self._master.check(self._master_shapes(), ("F16", "F32"))
        self._int4_file = self._open_int4() if (path / INT4).exists() else None

    def _master_shapes(self) -> dict[str, tuple[int, ...]]:
        names = {**vector_shapes(self.shape), **self._matrices, **self._routers}
        if self.shape.tied:
            del names[HEAD]
        return names

    def _open_int4(self) -> TensorFile:
        file = TensorFile(self.path / INT4)
        version = file.metadata.get("format")
        if version != INT4_FORMAT:
            raise InputError(
                f"{file.path}: format in the metadata must be {INT4_FORMAT!r}, not {version!r}"
            )
        for name, (rows, columns) in self._matrices.items():
            if columns % GROUP:
                raise InputError(
                    f"{file.path}: columns of {name} must be a multiple of {GROUP}, not {columns}"
                )
            file.check({name + "_q": (rows, columns // 2)}, ("U8",))
            file.check({scale_name(name): (rows, columns // GROUP)}, ("F16",))
        file.check({**vector_shapes(self.shape), **self._routers}, ("F16",))
        return file

    @property
    def has_int4(self) -> bool:
        """Whether the folder holds INT4 weights."""
        return self._int4_file is not None

    @property
    def routers(self) -> int:
        """Number of router tensors."""
        return len(self._routers)

    @property
    def size_bytes(self) -> int:
        """Size of configuration, weights and routing on disk."""
        paths = [self.path / name for name in (CONFIG, INT4, MASTER, ROUTING)]
        return sum(path.stat().st_size for path in paths if path.exists())

    @cached_property
    def hash(self) -> str:
        """SHA-256, in hexadecimal, over names, lengths and contents of the files.

        A policy instead of the folder's own counts too.
        """
        digest = hashlib.sha256()
        if self._given is not None:
            digest.update(to_toml(self._given).encode())
        for name in (CONFIG, INT4, MASTER, ROUTING):
            path = self.path / name
            if path.exists():
                digest.update(f"{name}\0{path.stat().st_size}\0".encode())
                with path.open("rb") as file:
                    digest.update(hashlib.file_digest(file, "sha256").digest())
        return digest.hexdigest()

    def tensor(self, name: str) -> Floats:
        """Return a tensor of the unquantised model, float32; a tied head is the embedding.

        Raises
        ------
        InputError
            There is no such tensor, or it holds NaN or infinity.
        """
        stored = EMBEDDING if name == HEAD and self.shape.tied else name
        return self._master.read(stored).astype(np.float32)

    def int4(self, name: str) -> Int4Weights:
        """Return a matrix on the INT4 grid.

        Raises
        ------
        InputError
            The folder has no INT4 weights, or no such matrix, or a scale is NaN, infinite or not
            above zero.
        """
        file = self._int4()
        packed = file.read(name + "_q")
        scales = file.read(scale_name(name))
        if not (scales > 0).all():
            index = np.argwhere(~(scales > 0))[0]
            raise InputError(
                f"{file.path}: tensor {scale_name(name)} must be above zero, "
                f"not {scales[tuple(index)]} at {index.tolist()}"
            )
        return Int4Weights(values=unpack_int4(packed), scales=scales.view(np.uint16))

    def fp16(self, name: str) -> NDArray[np.uint16]:
        """Return, as FP16 patterns, a tensor that the machine keeps in FP16.

        Raises
        ------
        InputError
            The folder has no INT4 weights, or no such tensor, or it holds NaN or infinity.
        """
        return self._int4().read(name).view(np.uint16)

    def _int4(self) -> TensorFile:
        if self._int4_file is None:
            raise InputError(
                f"{self.path}: must hold {INT4} to run on INT4 weights; "
                f"'hwroute models import {self.path} --quantize rtn' makes it"
            )
        return self._int4_file


def unpack_int4(packed: NDArray[np.uint8]) -> NDArray[np.int8]:
    """Unpack two's complement nibbles, the even column in the low one.

    Parameters
    ----------
    packed
        uint8 [out, in / 2].

    Returns
    -------
    int8 [out, in], from -8 to 7.
    """
    signed = packed.view(np.int8)
    pairs = np.stack([np.left_shift(signed, 4) >> 4, signed >> 4], axis=-1)
    return pairs.reshape(packed.shape[0], -1)


def scale_name(name: str) -> str:
    """Return the name of the scales of the matrix `name`."""
    return name.removesuffix(".weight") + ".scale"


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{path}: must be a readable JSON file: {error}") from error
    if not isinstance(config, dict):
        raise InputError(f"{path}: must hold a JSON object, not {config!r}")
    return config


def _settings(config: dict[str, Any], where: str) -> dict[str, Any]:
    """Return the table `hwroute`; a folder straight from Hugging Face has none."""
    settings = config.get("hwroute")
    if settings is None:
        return {}
    if not isinstance(settings, dict):
        raise InputError(f"{where}: hwroute must be a table, not {settings!r}")
    version = settings.get("format")
    if type(version) is not int or version != FORMAT:
        raise InputError(f"{where}: hwroute.format must be {FORMAT}, not {version!r}")
    for key in settings:
        if key not in KEYS:
            raise InputError(
                f"{where}: hwroute.{key} must be a known key{nearest(key, list(KEYS))}"
            )
    return settings


def _policy(path: Path, settings: dict[str, Any], master: TensorFile, where: str) -> RoutingPolicy:
    """Return the policy of `routing.toml`, else the one that `kv` and the routers imply."""
    kv = settings.get("kv")
    if kv is not None and kv not in POLICY_OF_KV:
        raise InputError(f"{where}: hwroute.kv must be one of reuse, dense, not {kv!r}")
    if (path / ROUTING).exists():
        policy = read_policy(path / ROUTING)
        if kv is not None and kv != policy.kv.value:
            raise InputError(
                f"{where}: hwroute.kv must be absent or agree with {ROUTING} "
                f"({policy.kv.value}), not {kv!r}"
            )
        return policy
    routers = settings.get("routers", any("_router." in name for name in master.names))
    if type(routers) is not bool:
        raise InputError(f"{where}: hwroute.routers must be true or false, not {routers!r}")
    if not routers:
        return named_policy("off")
    if kv is None:
        raise InputError(f"{where}: key hwroute.kv (reuse or dense) is missing: there are routers")
    return named_policy(POLICY_OF_KV[kv])
