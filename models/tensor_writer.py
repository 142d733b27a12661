"""Safetensors files, written some rows at a time: no tensor need fit in memory."""

import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

ITEM_BYTES = {"F32": 4, "F16": 2, "U8": 1}
_NAMES = {"<f4": "F32", "<f2": "F16", "|u1": "U8"}


class TensorWriter:
    """A safetensors file whose tensors and their rows come one after the other.

    Sizes are given ahead, so that the header comes first; tensors may then be written in any order
    and by turns. Wider element types lie first in the file, which aligns every tensor.

    Parameters
    ----------
    path
        The file, which is made.
    tensors
        Element type ("F32", "F16", "U8") and shape, not empty, of each tensor by its name.
    metadata
        Of the file.

    Raises
    ------
    ValueError
        At the end of the ``with`` block: a tensor is not complete.
    """

    def __init__(
        self,
        path: Path,
        tensors: Mapping[str, tuple[str, tuple[int, ...]]],
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        self._types = {name: dtype for name, (dtype, _) in tensors.items()}
        header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
        place, places = 0, {}
        for name in sorted(tensors, key=lambda name: -ITEM_BYTES[self._types[name]]):
            dtype, shape = tensors[name]
            size = int(np.prod(shape, dtype=np.int64)) * ITEM_BYTES[dtype]
            places[name] = (place, place + size)
            header[name] = {"dtype": dtype, "shape": shape, "data_offsets": places[name]}
            place += size
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        start = 8 + len(text)
        self._first = {name: start + first for name, (first, _) in places.items()}
        self._row_bytes = {
            name: (end - first) // max(1, tensors[name][1][0])
            for name, (first, end) in places.items()
        }
        self._ends = {name: start + end for name, (_, end) in places.items()}
        self._next = dict(self._first)
        self._file = path.open("wb")
        self._file.write(len(text).to_bytes(8, "little") + text)

    def rows(self, name: str) -> int:
        """Return how many rows of a tensor are written."""
        return (self._next[name] - self._first[name]) // self._row_bytes[name]

    def write(self, name: str, rows: NDArray[Any]) -> None:
        """Append rows to a tensor.

        Raises
        ------
        TypeError
            They are of another element type.
        ValueError
            They are more than the tensor has left.
        """
        found = _NAMES.get(rows.dtype.newbyteorder("<").str)
        if found != self._types[name]:
            raise TypeError(f"{name} must be {self._types[name]}, not {rows.dtype}")
        end = self._next[name] + rows.nbytes
        if end > self._ends[name]:
            raise ValueError(
                f"{name} must have {self._ends[name] - self._next[name]} bytes left, "
                f"not {rows.nbytes}"
            )
        self._file.seek(self._next[name])
        self._file.write(np.ascontiguousarray(rows).data)
        self._next[name] = end

    def __enter__(self) -> "TensorWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()
        short = [name for name, end in self._ends.items() if self._next[name] != end]
        if kind is None and short:
            raise ValueError(f"{short[0]} must be written to its end")
