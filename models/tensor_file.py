"""Safetensors files, read a tensor or some of its rows at a time, with errors in one line."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from hwroute.errors import InputError, nearest

OPEN = 0
"""In an expected shape: a size that the file decides, the same for all tensors of one router."""
INDEX = ".index.json"
"""End of the name of a file that lists the shards of a model."""
BLOCK_ELEMENTS = 1 << 22
"""Elements of a block of rows: few enough that what is made of them stays far below a gigabyte."""

NUMPY_TYPES = {"F16": "<f2", "BF16": "<u2", "F32": "<f4", "U8": "u1", "I32": "<i4"}
"""How the element types that are read lie in the file; NumPy has no bfloat16."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """Where a tensor is.

    Parameters
    ----------
    path, name
        The file, and what the tensor is called there.
    dtype, shape
        Element type, as safetensors spells it, and size.
    offset
        Its first byte in the file.
    """

    path: Path
    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int


class TensorFile:
    """Tensors of a safetensors file, or of all the shards that an index lists.

    Nothing but headers is kept in memory, nor mapped into it.

    Parameters
    ----------
    path
        The file, or an index (`INDEX`); headers are checked here, against the files' lengths too.

    Raises
    ------
    InputError
        A file is missing, truncated or not what its name says.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.metadata: dict[str, str] = {}
        if path.name.endswith(INDEX):
            self.entries = _read_shards(path)
        else:
            self.entries, self.metadata = _read_header(path)

    @property
    def names(self) -> frozenset[str]:
        """Names of all tensors."""
        return frozenset(self.entries)

    def rename(self, names: Mapping[str, str]) -> None:
        """Call tensors differently from here on: `names` has the new name of each that changes."""
        self.entries = {names.get(name, name): entry for name, entry in self.entries.items()}

    def check(self, expected: Mapping[str, tuple[int, ...]], dtypes: tuple[str, ...]) -> None:
        """Check names, shapes and element types from the header alone.

        Parameters
        ----------
        expected
            Name and shape of each tensor that must be there; see `OPEN`.
        dtypes
            Element types allowed, as safetensors spells them.

        Raises
        ------
        InputError
            The first tensor that is missing, misshapen or of another element type.
        """
        widths: dict[str, int] = {}
        for name, shape in expected.items():
            entry = self.entry(name)
            if len(entry.shape) == len(shape):
                shape = _closed(shape, entry.shape, widths, name.partition("_router.")[0])
            if shape != entry.shape:
                want = ", ".join("any" if size == OPEN else str(size) for size in shape)
                raise InputError(
                    f"{entry.path}: tensor {entry.name} must have shape [{want}], "
                    f"not {list(entry.shape)}"
                )
            if entry.dtype not in dtypes:
                raise InputError(
                    f"{entry.path}: tensor {entry.name} must be {' or '.join(dtypes)}, "
                    f"not {entry.dtype}"
                )

    def entry(self, name: str) -> Entry:
        """Return where a tensor is.

        Raises
        ------
        InputError
            There is no such tensor; the message gives the nearest name.
        """
        if name not in self.entries:
            close = nearest(name, sorted(self.entries))
            raise InputError(f"{self.path}: tensor {name} is missing{close}")
        return self.entries[name]

    def read(self, name: str) -> NDArray[Any]:
        """Return a tensor that `check` has accepted; bfloat16 becomes float32, which is exact.

        Raises
        ------
        InputError
            An element is NaN or infinite; the message gives the first one's index.
        """
        shape = self.entry(name).shape
        return self._rows(name, 0, shape[0]) if shape else self._rows(name, 0, 1).reshape(())

    def blocks(self, name: str) -> Iterator[NDArray[Any]]:
        """Yield a tensor as `read` returns it in blocks of rows, about `BLOCK_ELEMENTS` each."""
        for start, stop in row_blocks(self.entry(name).shape):
            yield self._rows(name, start, stop)

    def _rows(self, name: str, start: int, stop: int) -> NDArray[Any]:
        """Return some rows: elements of a vector, matrices of a stack."""
        entry = self.entry(name)
        dtype = np.dtype(NUMPY_TYPES[entry.dtype])
        width = int(np.prod(entry.shape[1:], dtype=np.int64))
        array: NDArray[Any] = np.fromfile(
            entry.path,
            dtype,
            (stop - start) * width,
            offset=entry.offset + start * width * dtype.itemsize,
        ).reshape(stop - start, *entry.shape[1:])
        if entry.dtype == "BF16":
            array = (array.astype("<u4") << 16).view("<f4")
        check_finite(array, f"{entry.path}: tensor {entry.name}", first_row=start)
        return array


def row_blocks(shape: tuple[int, ...], *, multiple: int = 1) -> Iterator[tuple[int, int]]:
    """Yield first row and end of blocks of about `BLOCK_ELEMENTS`, a multiple of rows each."""
    width = max(1, int(np.prod(shape[1:], dtype=np.int64)))
    rows = max(1, BLOCK_ELEMENTS // width // multiple) * multiple
    for start in range(0, shape[0], rows):
        yield start, min(start + rows, shape[0])


def check_finite(array: NDArray[Any], what: str, *, first_row: int = 0) -> None:
    """Refuse NaN and infinity.

    Parameters
    ----------
    array
        Rows of a tensor; integers pass.
    what
        What the message calls the tensor.
    first_row
        Number of the array's first row in the tensor.

    Raises
    ------
    InputError
        The message gives the first such element and its index in the tensor.
    """
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        index = np.argwhere(~np.isfinite(array))[0]
        where = [int(index[0]) + first_row, *index[1:].tolist()]
        raise InputError(f"{what} must be finite, not {array[tuple(index)]} at {where}")


def _read_header(path: Path) -> tuple[dict[str, Entry], dict[str, str]]:
    """Return the tensors of a file and its metadata; the package checks the header for us."""
    try:
        with safe_open(path, framework="numpy"):
            pass
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header: dict[str, Any] = json.loads(file.read(length))
    except (OSError, SafetensorError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: must be a whole safetensors file: {reason}") from error
    metadata = header.pop("__metadata__", None) or {}
    entries = {
        name: Entry(
            path=path,
            name=name,
            dtype=item["dtype"],
            shape=tuple(item["shape"]),
            offset=8 + length + item["data_offsets"][0],
        )
        for name, item in header.items()
    }
    return entries, metadata


def _read_shards(index: Path) -> dict[str, Entry]:
    try:
        found = json.loads(index.read_text(encoding="utf-8"))
        places = dict(found["weight_map"])
        files = sorted(set(places.values()))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{index}: must be a readable JSON file with a table weight_map: {error!r}"
        ) from error
    shards: dict[str, dict[str, Entry]] = {}
    for name in files:
        if not isinstance(name, str) or Path(name).name != name:
            raise InputError(f"{index}: weight_map must name files beside it, not {name!r}")
        shards[name] = _read_header(index.parent / name)[0]
    for tensor, name in places.items():
        if tensor not in shards[name]:
            raise InputError(f"{index.parent / name}: tensor {tensor} is missing")
    return {tensor: shards[name][tensor] for tensor, name in places.items()}


def _closed(
    shape: tuple[int, ...], found: tuple[int, ...], widths: dict[str, int], router: str
) -> tuple[int, ...]:
    """Return `shape` with open sizes taken from `widths`, or from the first tensor `found`."""
    return tuple(
        widths.setdefault(router, have) if want == OPEN else want
        for want, have in zip(shape, found, strict=True)
    )
