"""Replay recorded operations on a unit: what each unit must offer, and how results are compared."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from hwroute.compare import Divergence, compare_records
from hwroute.operations import Operator
from hwroute.sim.record import Recorded
from hwroute.trace import Record


class Replay(Protocol):
    """Operations of a run as streams of one unit."""

    @property
    def name(self) -> str:
        """The unit's name in `hwroute.rtl.units.UNITS`."""
        ...

    @property
    def inputs(self) -> Mapping[str, Any]:
        """Payloads of the input streams."""
        ...

    @property
    def settings(self) -> Mapping[str, int]:
        """Values of the plain inputs."""
        ...

    @property
    def expect(self) -> Mapping[str, int]:
        """Payloads to wait for on each output stream."""
        ...

    @property
    def golden(self) -> Sequence[Record]:
        """What the golden model has for the operations, at the unit's output width."""
        ...

    def records(self, outputs: Mapping[str, Any]) -> Sequence[Record]:
        """Return what the unit has for them, from the payloads of its output streams."""
        ...


@dataclass(frozen=True, kw_only=True)
class UnitResult:
    """What a replay gave.

    Parameters
    ----------
    unit
        Its name.
    operations
        Operations that ran on it, by kind.
    values
        Values compared.
    divergences
        First difference of each operation that differs.
    cycles
        Clock cycles simulated.
    build_seconds, run_seconds
        Wall time.
    """

    unit: str
    operations: dict[str, int]
    values: int
    divergences: list[Divergence]
    cycles: int
    build_seconds: float
    run_seconds: float


def of_kinds(operations: Sequence[Recorded], *kinds: Operator) -> list[Recorded]:
    """Return the operations of a run that are of some kinds."""
    return [item for item in operations if item.operation.operator in kinds]


def differences(golden: Sequence[Record], rtl: Sequence[Record]) -> list[Divergence]:
    """Return the first difference of every pair of records that differ."""
    found = [compare_records(a, b) for a, b in zip(golden, rtl, strict=True)]
    return [divergence for divergence in found if divergence]


def same_but(record: Record, outputs: Mapping[str, Any]) -> Record:
    """Return a record of the same operation with other outputs."""
    return Record(
        id=record.id,
        operation=record.operation,
        operator=record.operator,
        position=record.position,
        rows=record.rows,
        outputs=outputs,
    )
