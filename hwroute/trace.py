"""The trace: one record for every retired operation, the same schema from every executor."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwroute.tensor_document import open_document, save_document

FORMAT = "hwroute-trace/1"


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
        save_document(path, about, tensors, "trace")

    @classmethod
    def load(cls, path: Path) -> "Trace":
        """Read a trace file.

        Raises
        ------
        InputError
            The file is missing, truncated, not a trace, or of an unknown version.
        """
        with open_document(path, FORMAT, "trace") as (about, tensor):
            trace = cls(program=about["program"], header=about["header"])
            for number, operation, operator, position, names in about["records"]:
                trace.records.append(
                    Record(
                        id=number,
                        operation=operation,
                        operator=operator,
                        position=position,
                        rows=tensor(f"{number}/rows"),
                        outputs={name: tensor(f"{number}/{name}") for name in names},
                    )
                )
        return trace
