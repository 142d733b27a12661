"""Compare two traces record by record, bit by bit."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwroute.errors import InputError
from hwroute.numerics import fp16_to_fp32
from hwroute.trace import Record, Trace


@dataclass(frozen=True, kw_only=True)
class Divergence:
    """The first value in which two traces differ.

    Parameters
    ----------
    id, operation, output, index
        Where: record, its operation, the output's name, the element's index.
    ours, theirs
        Both values in hexadecimal and decoded, or what is missing.
    """

    id: int
    operation: str
    output: str
    index: tuple[int, ...]
    ours: str
    theirs: str

    def __str__(self) -> str:
        return self.describe("first", "second")

    def describe(self, ours: str, theirs: str) -> str:
        """Return one line that calls the two sides by their names."""
        where = ", ".join(str(part) for part in self.index)
        return (
            f"operation {self.id} ({self.operation}), {self.output}[{where}]: "
            f"{ours} {self.ours}, {theirs} {self.theirs}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "id": self.id,
            "operation": self.operation,
            "output": self.output,
            "index": list(self.index),
            "ours": self.ours,
            "theirs": self.theirs,
        }


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The result of a comparison.

    Parameters
    ----------
    records
        Records compared.
    mismatches
        Records that differ or are missing on one side.
    first
        The first difference, None where all is equal.
    """

    records: int
    mismatches: int
    first: Divergence | None

    @property
    def match(self) -> bool:
        """Whether every bit of every record is equal."""
        return self.mismatches == 0


def compare(ours: Trace, theirs: Trace) -> Comparison:
    """Compare two traces of the same program.

    Raises
    ------
    InputError
        They are traces of different programs, or one has no records: that shows nothing.
    """
    for name, trace in (("first", ours), ("second", theirs)):
        if not trace.records:
            raise InputError(f"the {name} trace must have at least one record, not none")
    if ours.program != theirs.program:
        raise InputError(
            "traces must be of the same program (operations, weights, numerics), not of "
            f"{ours.program[:12]} and {theirs.program[:12]}"
        )
    first, mismatches = None, 0
    for a, b in zip(ours.records, theirs.records, strict=False):
        found = compare_records(a, b)
        if found:
            mismatches += 1
            first = first or found
    shared = min(len(ours.records), len(theirs.records))
    longer = ours if len(ours.records) > shared else theirs
    missing = len(longer.records) - shared
    if missing:
        record = longer.records[shared]
        sides = ("a record", "none") if longer is ours else ("none", "a record")
        first = first or Divergence(
            id=record.id,
            operation=record.operation,
            output="record",
            index=(),
            ours=sides[0],
            theirs=sides[1],
        )
    return Comparison(records=shared + missing, mismatches=mismatches + missing, first=first)


def compare_records(ours: Record, theirs: Record) -> Divergence | None:
    """Return the first difference of two records, None where they are equal."""

    def differ(output: str, index: tuple[int, ...], a: str, b: str) -> Divergence:
        return Divergence(
            id=ours.id, operation=ours.operation, output=output, index=index, ours=a, theirs=b
        )

    if (ours.operation, ours.position) != (theirs.operation, theirs.position):
        return differ("operation", (), _place(ours), _place(theirs))
    pairs = [("rows", ours.rows, theirs.rows)]
    for name in (*ours.outputs, *theirs.outputs):
        if name not in ours.outputs or name not in theirs.outputs:
            sides = ("absent", "present") if name not in ours.outputs else ("present", "absent")
            return differ(name, (), *sides)
    pairs += [(name, array, theirs.outputs[name]) for name, array in ours.outputs.items()]
    for name, a, b in pairs:
        if a.shape[1:] != b.shape[1:] or a.dtype != b.dtype:
            return differ(name, (), f"{a.dtype} {a.shape}", f"{b.dtype} {b.shape}")
        shared = min(len(a), len(b))
        index = first_difference(a[:shared], b[:shared])
        if index is not None:
            return differ(name, index, show(a[index]), show(b[index]))
        if len(a) != len(b):
            sides = ("absent", "present") if len(a) == shared else ("present", "absent")
            return differ(name, (shared,), *sides)
    return None


def first_difference(a: NDArray[Any], b: NDArray[Any]) -> tuple[int, ...] | None:
    """Return the index of the first element whose bits differ, None where all are equal."""
    if a.dtype == np.float32:
        a, b = a.view(np.uint32), b.view(np.uint32)
    unequal = np.asarray(a != b)
    if not unequal.any():
        return None
    return tuple(int(part) for part in np.unravel_index(np.argmax(unequal), unequal.shape))


def show(value: Any) -> str:
    """Return a value in hexadecimal and decoded."""
    if isinstance(value, np.uint16):
        return f"0x{int(value):04x} ({float(fp16_to_fp32(np.array(value))):.6g})"
    if isinstance(value, np.float32):
        return f"0x{int(value.view(np.uint32)):08x} ({float(value):.9g})"
    if isinstance(value, np.bool_):
        return "1" if value else "0"
    return f"0x{int(value) & 0xFFFFFFFFFFFFFFFF:x} ({int(value)})"


def _place(record: Record) -> str:
    return f"{record.operation} at position {record.position}"
