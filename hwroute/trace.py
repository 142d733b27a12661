"""The trace: one record for every retired operation, the same schema from every executor."""

import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from hwroute.errors import InputError

FORMAT = "hwroute-trace/1"
METADATA = "hwroute"
"""Key of the metadata that says what the arrays are."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """What one operation wrote.

    Parameters
    ----------
    id
        Its number in the run: operations are numbered as they retire, in program order.
    operation
        Name of the operation, for instance ``layers.3.attention.q``.
    operator
        What it computed, for instance ``matmul``.
    position
        Position in the sequence of the first token of the tile.
    rows
        Tokens of the tile that it ran for: [n] int64, relative to `position`.
    outputs
        Arrays by name: FP16 as uint16, FP32 as float32, masks as bool, indices as int64.
    """

    id: int
    operation: str
    operator: str
    position: int
    rows: NDArray[np.int64]
    outputs: Mapping[str, NDArray[Any]]


@dataclass(kw_only=True)
class Trace:
    """Records of a run, and what identifies it.

    Parameters
    ----------
    program
        Hash of operations, weights and numerics: only traces of one program compare.
    header
        Provenance, shown to people.
    """

    program: str
    header: dict[str, Any] = field(default_factory=dict)
    records: list[Record] = field(default_factory=list)

    def save(self, path: Path) -> None:
        """Write to `path`; an earlier file stays until the new one is whole.

        Raises
        ------
        InputError
            The path cannot be written.
        """
        tensors: dict[str, NDArray[Any]] = {}
        index = []
        for record in self.records:
            tensors[f"{record.id}/rows"] = np.ascontiguousarray(record.rows)
            for name, array in record.outputs.items():
                tensors[f"{record.id}/{name}"] = np.ascontiguousarray(array)
            place = [record.id, record.operation, record.operator, record.position]
            index.append([*place, list(record.outputs)])
        about = {
            "format": FORMAT,
            "program": self.program,
            "header": self.header,
            "records": index,
        }
        # One entry, because safetensors writes several in any order.
        metadata = {METADATA: json.dumps(about)}
        partial = path.parent / f".{path.name}.{os.getpid()}"
        try:
            save_file(tensors, partial, metadata=metadata)
            partial.replace(path)
        except (OSError, SafetensorError) as error:
            with contextlib.suppress(OSError):
                partial.unlink()
            raise InputError(f"trace {path} must be writable: {error}") from error

    @classmethod
    def load(cls, path: Path) -> "Trace":
        """Read a trace file.

        Raises
        ------
        InputError
            The file is missing, truncated, not a trace, or of an unknown version.
        """
        try:
            with safe_open(path, framework="numpy") as file:
                about = dict(json.loads((file.metadata() or {}).get(METADATA, "{}")))
                known = about.get("format")
                if known != FORMAT:
                    raise InputError(f"trace {path} must be of format {FORMAT!r}, not {known!r}")
                trace = cls(program=about["program"], header=about["header"])
                for number, operation, operator, position, names in about["records"]:
                    trace.records.append(
                        Record(
                            id=number,
                            operation=operation,
                            operator=operator,
                            position=position,
                            rows=file.get_tensor(f"{number}/rows"),
                            outputs={name: file.get_tensor(f"{number}/{name}") for name in names},
                        )
                    )
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"trace {path} must be a whole trace file: {error}") from error
        return trace
