"""What every kind of checkpoint offers to the import."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from hwroute.checkpoint import HEAD, Floats, Int4Weights, matrix_shapes
from hwroute.errors import InputError
from hwroute.models.folder import ModelFolder
from hwroute.models.folder_config import MASTER
from hwroute.policy import RoutingPolicy
from hwroute.shape import ModelShape


class Source(Protocol):
    """A checkpoint whose tensors have hwroute's names and are read some rows at a time."""

    @property
    def shape(self) -> ModelShape:
        """Dimensions and constants."""
        ...

    @property
    def policy(self) -> RoutingPolicy:
        """The routing that goes into the folder."""
        ...

    @property
    def settings(self) -> Mapping[str, Any]:
        """Keys of the table `hwroute` that it brings along, such as `tokenizer`."""
        ...

    @property
    def folder(self) -> Path:
        """Where the files that `settings` name are."""
        ...

    @property
    def packed(self) -> frozenset[str]:
        """Matrices that are on the INT4 grid already."""
        ...

    def vector_shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Return name and shape of every tensor that stays FP16."""
        ...

    def blocks(self, name: str) -> Iterator[Floats]:
        """Yield float32 rows of a tensor that is not `packed`, all finite.

        Raises
        ------
        InputError
            A value is NaN or infinite.
        """
        ...

    def int4(self, name: str) -> Int4Weights:
        """Return a `packed` matrix.

        Raises
        ------
        InputError
            Its scales or zero points are none that the machine has.
        """
        ...


class FolderSource:
    """A model folder, to be quantised again; its INT4 weights are not looked at.

    Parameters
    ----------
    path
        The folder.
    policy
        Instead of its own.

    Raises
    ------
    InputError
        The folder is broken or has no unquantised weights.
    """

    packed: frozenset[str] = frozenset()

    def __init__(self, path: Path, policy: RoutingPolicy | None) -> None:
        self._model = ModelFolder(path, policy=policy)
        if not self._model.has_master:
            raise InputError(f"{path}: must hold {MASTER} to be quantised again")
        self.folder = path
        self.shape, self.policy = self._model.shape, self._model.policy
        kept = ("tokenizer", "seed")
        self.settings = {key: value for key, value in self._model.settings.items() if key in kept}

    def vector_shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Return name and shape of every tensor that stays FP16."""
        return self._model.vector_shapes()

    def blocks(self, name: str) -> Iterator[Floats]:
        """Yield float32 rows of a tensor."""
        return self._model.blocks(name)

    def int4(self, name: str) -> Int4Weights:
        """Refuse: no matrix is `packed`."""
        raise KeyError(name)


def stored_matrices(shape: ModelShape) -> dict[str, tuple[int, int]]:
    """Return name and [out, in] of the matrices that unquantised weights hold: no tied head."""
    matrices = matrix_shapes(shape)
    if shape.tied:
        del matrices[HEAD]
    return matrices


def refuse_unknown(names: frozenset[str], known: frozenset[str], where: str) -> None:
    """Refuse a checkpoint with a tensor that no part of the model reads.

    Leaving it out would silently compute something else.

    Raises
    ------
    InputError
        Naming the first such tensor.
    """
    unknown = sorted(names - known)
    if unknown:
        raise InputError(
            f"{where}: tensors must be those of the architecture and its routers, not {unknown[0]}"
        )
