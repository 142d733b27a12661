"""Hugging Face folders: Llama, Mistral and Qwen2, in floating point or packed by GPTQ."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from hwroute.checkpoint import HEAD, Floats, Int4Weights, router_shapes, vector_shapes
from hwroute.errors import InputError
from hwroute.hf_config import read_config, shape_from_hf
from hwroute.models.folder import FLOAT_TYPES
from hwroute.models.folder_config import CONFIG, MASTER
from hwroute.models.importing import skipgpt
from hwroute.models.importing.gptq_layout import (
    PARTS,
    check_parts,
    gptq_settings,
    part_name,
    unpack_matrix,
)
from hwroute.models.importing.source import refuse_unknown, stored_matrices
from hwroute.models.tensor_file import INDEX, TensorFile
from hwroute.policy import RoutingPolicy

_BUFFER = re.compile(r".*\.rotary_emb\.inv_freq")
"""Constants that older versions of transformers saved: `config.json` gives them."""


class HuggingFace:
    """A folder with `config.json` and safetensors, in one file or in shards.

    Rows of Q and K stay in Hugging Face's order.

    Parameters
    ----------
    path
        The folder.
    policy
        What its routers are for; None finds SkipGPT's routers by their names.

    Raises
    ------
    InputError
        A file is missing or broken, the architecture is not handled, or a tensor is missing,
        misshapen, of another element type or not the architecture's.
    """

    def __init__(self, path: Path, policy: RoutingPolicy | None) -> None:
        self.folder = path
        self.settings: dict[str, Any] = {}
        config, where = read_config(path / CONFIG), str(path / CONFIG)
        self.shape = shape_from_hf(skipgpt.plain_architectures(config), where)
        self._gptq = gptq_settings(path, config)
        self._file = TensorFile(weights_file(path))
        self._file.rename(skipgpt.our_names(self._file.names))
        self.policy = policy or skipgpt.implied_policy(self._file.names, str(path))
        self.policy.check_layers(self.shape.layers)
        self._matrices = stored_matrices(self.shape)
        self.packed = frozenset(
            name
            for name in self._matrices
            if self._gptq is not None and part_name(name, "qweight") in self._file.names
        )
        vectors = vector_shapes(self.shape) | router_shapes(self.shape, self.policy)
        floats = {name: size for name, size in self._matrices.items() if name not in self.packed}
        self._file.check(vectors | floats, FLOAT_TYPES)
        if self._gptq is not None:
            for name in self.packed:
                check_parts(self._file, name, self._matrices[name], self._gptq)
        self._vectors = {name: self._file.entry(name).shape for name in vectors}
        self._refuse_unknown(frozenset(vectors | floats))

    def _refuse_unknown(self, known: frozenset[str]) -> None:
        parts = frozenset(part_name(name, part) for name in self.packed for part in PARTS)
        # A tied head is the embedding whatever the file holds, and a policy may need no router.
        unread = frozenset(
            name
            for name in self._file.names
            if _BUFFER.fullmatch(name) or "_router." in name or name == HEAD
        )
        left = self._file.names - known - parts - unread
        # GPTQ's layers store a bias of zeros where the model has none.
        zeros = frozenset(
            name
            for name in left
            if name.endswith(".bias")
            and self._file.entry(name).dtype in FLOAT_TYPES
            and not np.any(self._file.read(name))
        )
        refuse_unknown(left, zeros, str(self.folder))

    def vector_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return name and shape of every tensor that stays FP16."""
        return self._vectors

    def blocks(self, name: str) -> Iterator[Floats]:
        """Yield float32 rows of a tensor."""
        for block in self._file.blocks(name):
            yield block.astype(np.float32)

    def int4(self, name: str) -> Int4Weights:
        """Return a `packed` matrix."""
        assert self._gptq is not None
        return unpack_matrix(self._file, name, self._matrices[name], self._gptq)


def weights_file(folder: Path) -> Path:
    """Return the safetensors file of a folder, or the index of its shards.

    Raises
    ------
    InputError
        There is none, or several and nothing says which.
    """
    for name in (MASTER, MASTER + INDEX):
        if (folder / name).exists():
            return folder / name
    found = sorted(folder.glob("*.safetensors"))
    if len(found) != 1:
        raise InputError(
            f"{folder}: must hold {MASTER}, {MASTER}{INDEX} or one other safetensors file, "
            f"not {len(found)}: pickled weights (.bin, .pt, .pth) are not read"
        )
    return found[0]
