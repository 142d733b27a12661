"""Safetensors files, opened with their errors in one line."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from hwroute.errors import InputError, nearest

OPEN = 0
"""In an expected shape: a size that the file decides, the same for all tensors of one router."""


class _Entry(Protocol):
    def get_shape(self) -> list[int]: ...

    def get_dtype(self) -> str: ...


class _File(Protocol):
    """What safetensors' reader offers; it carries no annotations of its own."""

    def keys(self) -> list[str]: ...

    def metadata(self) -> dict[str, str] | None: ...

    def get_slice(self, name: str) -> _Entry: ...

    def get_tensor(self, name: str) -> NDArray[Any]: ...


class TensorFile:
    """Tensors of one safetensors file, read one at a time.

    Parameters
    ----------
    path
        The file; its header is checked here, against the file's length too.

    Raises
    ------
    InputError
        The file is missing, truncated or not a safetensors file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = cast(_File, safe_open(path, framework="numpy"))
        except (OSError, SafetensorError) as error:
            reason = str(error).splitlines()[0]
            raise InputError(f"{path}: must be a whole safetensors file: {reason}") from error
        self.names = frozenset(self._file.keys())
        self.metadata: dict[str, str] = self._file.metadata() or {}

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
            self._require(name)
            entry = self._file.get_slice(name)
            found = entry.get_shape()
            if len(found) == len(shape):
                shape = _closed(shape, found, widths, name.partition("_router.")[0])
            if list(shape) != found:
                want = ", ".join("any" if size == OPEN else str(size) for size in shape)
                raise InputError(
                    f"{self.path}: tensor {name} must have shape [{want}], not {found}"
                )
            if entry.get_dtype() not in dtypes:
                raise InputError(
                    f"{self.path}: tensor {name} must be {' or '.join(dtypes)}, "
                    f"not {entry.get_dtype()}"
                )

    def _require(self, name: str) -> None:
        if name not in self.names:
            close = nearest(name, sorted(self.names))
            raise InputError(f"{self.path}: tensor {name} is missing{close}")

    def read(self, name: str) -> NDArray[Any]:
        """Return a tensor that `check` has accepted.

        Raises
        ------
        InputError
            An element is NaN or infinite; the message gives the first one's index.
        """
        self._require(name)
        array = self._file.get_tensor(name)
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            index = np.argwhere(~np.isfinite(array))[0]
            raise InputError(
                f"{self.path}: tensor {name} must be finite, "
                f"not {array[tuple(index)]} at {index.tolist()}"
            )
        return array


def _closed(
    shape: tuple[int, ...], found: list[int], widths: dict[str, int], router: str
) -> tuple[int, ...]:
    """Return `shape` with open sizes taken from `widths`, or from the first tensor `found`."""
    return tuple(
        widths.setdefault(router, have) if want == OPEN else want
        for want, have in zip(shape, found, strict=True)
    )
