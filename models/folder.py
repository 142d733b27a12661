"""Model folders: `config.json`, float weights, INT4 weights and routing (docs/model-folder.md)."""

import hashlib
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hwroute.checkpoint import (
    EMBEDDING,
    HEAD,
    Floats,
    Int4Weights,
    Tokenizer,
    groups_of,
    matrix_shapes,
    router_shapes,
    vector_shapes,
)
from hwroute.errors import InputError
from hwroute.hf_config import read_config, shape_from_hf
from hwroute.models.folder_config import (
    CONFIG,
    FILES,
    INT4,
    MASTER,
    policy_of,
    read_settings,
)
from hwroute.models.tensor_file import TensorFile
from hwroute.models.tokenizer import make_tokenizer
from hwroute.policy import RoutingPolicy
from hwroute.policy_file import to_toml

FLOAT_TYPES = ("F16", "BF16", "F32")
"""Element types of unquantised weights that are read."""
INT4_FORMAT = "hwroute-int4/1"
"""Version of the INT4 file, `format` in its metadata."""
GROUP = 128
"""Input columns that share a scale."""


class ModelFolder:
    """A checkpoint in a folder; satisfies :class:`hwroute.checkpoint.Checkpoint`.

    Names, shapes and element types are checked at once, values when they are read.

    Parameters
    ----------
    path
        The folder.
    name
        What reports call it; by default `hwroute.name` of its configuration, else the folder's
        name.
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
        config, where = read_config(path / CONFIG), str(path / CONFIG)
        self.shape = shape_from_hf(config, where)
        self.settings = read_settings(config, where)
        self.name: str = name or self.settings.get("name") or path.resolve().name
        self._int4_file = TensorFile(path / INT4) if (path / INT4).exists() else None
        # INT4 weights may stand alone; where neither file is there, the master is the one missed.
        alone = self._int4_file is not None and not (path / MASTER).exists()
        self._master = None if alone else TensorFile(path / MASTER)
        self._given = policy
        self.policy = policy or policy_of(path, self.settings, self._any_file().names, where)
        self.policy.check_layers(self.shape.layers)
        tokenizer = self.settings.get("tokenizer")
        self.tokenizer: Tokenizer | None = (
            None if tokenizer is None else make_tokenizer(tokenizer, path, self.shape.vocab, where)
        )
        self._routers = router_shapes(self.shape, self.policy)
        self._matrices = matrix_shapes(self.shape)
        if self._master is not None:
            self._master.check(self._master_shapes(), FLOAT_TYPES)
        if self._int4_file is not None:
            self._check_int4(self._int4_file)

    def _any_file(self) -> TensorFile:
        return self._master or self._int4()

    def _master_shapes(self) -> dict[str, tuple[int, ...]]:
        names = {**vector_shapes(self.shape), **self._matrices, **self._routers}
        if self.shape.tied:
            del names[HEAD]
        return names

    def _check_int4(self, file: TensorFile) -> None:
        version = file.metadata.get("format")
        if version != INT4_FORMAT:
            raise InputError(
                f"{file.path}: format in the metadata must be {INT4_FORMAT!r}, not {version!r}"
            )
        for name, (rows, columns) in self._matrices.items():
            file.check({name + "_q": (rows, -(-columns // 2))}, ("U8",))
            file.check({scale_name(name): (rows, groups_of(columns, GROUP))}, ("F16",))
        file.check({**vector_shapes(self.shape), **self._routers}, ("F16",))

    @property
    def has_master(self) -> bool:
        """Whether the folder holds the unquantised weights."""
        return self._master is not None

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
        """Size of all `FILES` on disk."""
        paths = [self.path / name for name in FILES]
        return sum(path.stat().st_size for path in paths if path.exists())

    @cached_property
    def hash(self) -> str:
        """SHA-256, in hexadecimal, over names, lengths and contents of the files.

        A policy instead of the folder's own counts too.
        """
        digest = hashlib.sha256()
        if self._given is not None:
            digest.update(to_toml(self._given).encode())
        for name in FILES:
            path = self.path / name
            if path.exists():
                digest.update(f"{name}\0{path.stat().st_size}\0".encode())
                with path.open("rb") as file:
                    digest.update(hashlib.file_digest(file, "sha256").digest())
        return digest.hexdigest()

    def tensor(self, name: str) -> Floats:
        """Return a tensor of the unquantised model, float32; a tied head is the embedding.

        Where the folder holds INT4 weights alone, matrices are dequantised.

        Raises
        ------
        InputError
            There is no such tensor, or it holds NaN or infinity.
        """
        stored = EMBEDDING if name == HEAD and self.shape.tied else name
        if self._master is None and stored in self._matrices:
            return self.int4(stored).dequantised()
        return self._any_file().read(stored).astype(np.float32)

    def blocks(self, name: str) -> Iterator[Floats]:
        """Yield a tensor of the unquantised weights as `tensor` returns it, in blocks of rows.

        Raises
        ------
        InputError
            As `tensor`, or the folder has no unquantised weights.
        """
        if self._master is None:
            raise InputError(f"{self.path}: must hold {MASTER} to be read in blocks")
        stored = EMBEDDING if name == HEAD and self.shape.tied else name
        for block in self._master.blocks(stored):
            yield block.astype(np.float32)

    def vector_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return name and shape of every tensor that stays FP16: all but the matrices."""
        names = {**vector_shapes(self.shape), **self._routers}
        return {name: self._any_file().entry(name).shape for name in names}

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
        values = unpack_int4(packed)[:, : self._matrices[name][1]]
        return Int4Weights(values=values, scales=scales.view(np.uint16), group=GROUP)

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
    int8 [out, in], from -8 to 7; one column more where the matrix has an odd number of them.
    """
    signed = packed.view(np.int8)
    pairs = np.stack([np.left_shift(signed, 4) >> 4, signed >> 4], axis=-1)
    return pairs.reshape(packed.shape[0], -1)


def scale_name(name: str) -> str:
    """Return the name of the scales of the matrix `name`."""
    return name.removesuffix(".weight") + ".scale"
