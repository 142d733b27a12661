"""Checkpoints of llama2.c: `.bin` files, version 0 (no magic number) and 1, all float32.

llama2.c turns neighbouring elements of a head together, Hugging Face elements head_dim / 2 apart:
rows of Q and K are brought from the one order to the other.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from hwroute.checkpoint import (
    EMBEDDING,
    HEAD,
    NORM,
    Floats,
    Int4Weights,
    layer_prefix,
    matrix_shapes,
    vector_shapes,
)
from hwroute.errors import InputError
from hwroute.models.library import named_policy
from hwroute.models.tensor_file import check_finite, row_blocks
from hwroute.policy import RoutingPolicy
from hwroute.shape import ModelShape

MAGIC = 0x616B3432
"""Where version 0 has its first size, later versions have this."""
_SIZES, _HEADER_BYTES = "<7i", 256
_ITEM_BYTES = 4

_NORMS = ("input_layernorm.weight", "post_attention_layernorm.weight")
_ATTENTION = tuple(f"self_attn.{letter}_proj.weight" for letter in "qkvo")
_FFN = ("mlp.gate_proj.weight", "mlp.down_proj.weight", "mlp.up_proj.weight")


class Llama2c:
    """A `.bin` file of llama2.c.

    Parameters
    ----------
    path
        The file.
    policy
        None, or one without routers: the format has none.

    Raises
    ------
    InputError
        The file is of another version, has impossible sizes or another length, or the policy needs
        routers.
    """

    packed: frozenset[str] = frozenset()

    def __init__(self, path: Path, policy: RoutingPolicy | None) -> None:
        self._path = path
        self.folder = path.parent
        self.settings: dict[str, Any] = {}
        self.policy = policy or named_policy("off")
        if any(site.router is not None for _, site in self.policy.sites()):
            raise InputError(
                f"policy {self.policy.name!r} must need no routers for {path}: it holds none"
            )
        version, self.shape, start = _read_header(path)
        self.policy.check_layers(self.shape.layers)
        self._places: dict[str, int] = {}
        sizes = matrix_shapes(self.shape) | vector_shapes(self.shape)
        for name in _tensor_order(self.shape, version):
            self._places[name] = start
            start += _ITEM_BYTES * _elements(self.shape, name, sizes)
        if path.stat().st_size != start:
            raise InputError(
                f"{path}: must be {start} bytes long as its header says, not {path.stat().st_size}"
            )
        self._sizes = {name: sizes[name] for name in self._places if name in sizes}

    def vector_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return name and shape of every tensor that stays FP16."""
        return vector_shapes(self.shape)

    def blocks(self, name: str) -> Iterator[Floats]:
        """Yield float32 rows of a tensor, those of Q and K in Hugging Face's order."""
        size, head_dim = self._sizes[name], self.shape.head_dim
        turned = name.endswith(("q_proj.weight", "k_proj.weight"))
        width = int(np.prod(size[1:], dtype=np.int64))
        for start, stop in row_blocks(size, multiple=head_dim if turned else 1):
            place = self._places[name] + _ITEM_BYTES * start * width
            rows = np.fromfile(self._path, "<f4", (stop - start) * width, offset=place)
            rows = rows.reshape(stop - start, *size[1:])
            check_finite(rows, f"{self._path}: tensor {name}", first_row=start)
            yield _halves(rows, head_dim) if turned else rows

    def int4(self, name: str) -> Int4Weights:
        """Refuse: no matrix is `packed`."""
        raise KeyError(name)


def _halves(rows: Floats, head_dim: int) -> Floats:
    """Bring the even rows of every head before its odd ones."""
    pairs = rows.reshape(-1, head_dim // 2, 2, rows.shape[1])
    return pairs.swapaxes(1, 2).reshape(rows.shape)


def _read_header(path: Path) -> tuple[int, ModelShape, int]:
    """Return version, shape and the place of the first tensor."""
    with path.open("rb") as file:
        raw = file.read(_HEADER_BYTES)
    length = struct.calcsize(_SIZES)
    if len(raw) < length:
        raise InputError(f"{path}: must begin with a header of {length} bytes, not {len(raw)}")
    version, place = 0, 0
    if int.from_bytes(raw[:4], "little") == MAGIC:
        version, place = int.from_bytes(raw[4:8], "little", signed=True), 8
        if version != 1:
            raise InputError(f"{path}: version must be 0 or 1 (float32), not {version}")
        if len(raw) < _HEADER_BYTES:
            raise InputError(
                f"{path}: must begin with a header of {_HEADER_BYTES} bytes, not {len(raw)}"
            )
    dim, ffn_dim, layers, heads, kv_heads, vocab, context = struct.unpack_from(_SIZES, raw, place)
    # A negative vocabulary says in version 0 that the head is a matrix of its own.
    tied = bool(raw[place + length]) if version else vocab > 0
    if heads < 1 or dim % heads:
        raise InputError(f"{path}: dim must be a multiple of heads ({heads}), not {dim}")
    try:
        shape = ModelShape(
            dim=dim,
            layers=layers,
            heads=heads,
            kv_heads=kv_heads,
            head_dim=dim // heads,
            ffn_dim=ffn_dim,
            vocab=vocab if version else abs(vocab),
            context=context,
            tied=tied,
        )
    except ValueError as error:
        raise InputError(f"{path}: the header must be llama2.c's: {error}") from error
    return version, shape, _HEADER_BYTES if version else length


_ROTARY = "rotary"
"""Version 0 stores cosines and sines, which nobody reads."""


def _tensor_order(shape: ModelShape, version: int) -> list[str]:
    def layers(*kinds: str) -> list[str]:
        return [layer_prefix(layer) + kind for kind in kinds for layer in range(shape.layers)]

    head = [] if shape.tied else [HEAD]
    if version:
        return [*layers(*_NORMS), NORM, EMBEDDING, *layers(*_ATTENTION, *_FFN), *head]
    attention = layers(_NORMS[0], *_ATTENTION)
    return [EMBEDDING, *attention, *layers(_NORMS[1], *_FFN), NORM, _ROTARY, *head]


def _elements(shape: ModelShape, name: str, sizes: dict[str, tuple[int, ...]]) -> int:
    size = (shape.context, shape.head_dim) if name == _ROTARY else sizes[name]
    return int(np.prod(size, dtype=np.int64))
