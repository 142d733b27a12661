"""A JSON object and tensors in one safetensors file: what traces and programs are kept in."""

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from hwroute.errors import InputError

METADATA = "hwroute"
"""Key of the metadata that holds the object: one, because safetensors writes several in any
order."""

Read = Callable[[str], NDArray[Any]]


def write_whole(path: Path, write: Callable[[Path], object], what: str) -> None:
    """Write a file; an earlier one stays until the new one is whole.

    Parameters
    ----------
    path
        Where it goes.
    write
        Writes it to the path that it is given.
    what
        What an error calls it, such as ``"trace"``.

    Raises
    ------
    InputError
        The path cannot be written.
    """
    partial = path.parent / f".{path.name}.{os.getpid()}"
    try:
        write(partial)
        partial.replace(path)
    except (OSError, SafetensorError) as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise InputError(f"{what} {path} must be writable: {error}") from error


def save_document(
    path: Path, about: Mapping[str, Any], tensors: dict[str, NDArray[Any]], what: str
) -> None:
    """Write `about`, which has its version under ``format``, and `tensors`; see `write_whole`."""
    metadata = {METADATA: json.dumps(about)}
    write_whole(path, lambda partial: save_file(tensors, partial, metadata=metadata), what)


@contextlib.contextmanager
def open_document(path: Path, known: str, what: str) -> Iterator[tuple[dict[str, Any], Read]]:
    """Open a file; yield its object, and what returns a tensor by name.

    Parameters
    ----------
    path
        The file.
    known
        The only ``format`` that is read.
    what
        What an error calls it.

    Raises
    ------
    InputError
        The file is missing, truncated, of another kind or version; or the body of the ``with``
        finds that something is missing, or of the wrong type or value.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            about = dict(json.loads((file.metadata() or {}).get(METADATA, "{}")))
            found = about.get("format")
            if found != known:
                raise InputError(f"{what} {path} must be of format {known!r}, not {found!r}")
            yield about, cast(Read, file.get_tensor)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{what} {path} must be a whole {what} file: {error}") from error
