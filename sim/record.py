"""Record a golden run with the inputs of every operation, so that units can be fed with them."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwroute.models.generate import Tracer
from hwroute.models.golden import Golden
from hwroute.models.ops.kv import KVRequest
from hwroute.models.tile import Tile, Values
from hwroute.operations import Operation, Operator
from hwroute.trace import Record


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """One operation of a run.

    Parameters
    ----------
    record
        What it wrote, as in the trace.
    operation
        What it was.
    inputs
        The rows that it read, in the order of `Operation.inputs`.
    kv
        Of the entries that it attended to, by KV head: K for scores, V and its block exponents for
        attention, K and V for their order; empty for other operations.
    tile_tokens
        Tokens of its tile.
    requests
        Its requests to the KV memory: from the first to before the second number of the log.
    """

    record: Record
    operation: Operation
    inputs: list[NDArray[Any]]
    kv: list[NDArray[Any]]
    tile_tokens: int
    requests: tuple[int, int]


@dataclass
class Recorder:
    """An observer of `Golden` that keeps inputs beside a trace.

    Parameters
    ----------
    tracer
        Keeps the trace.
    requests
        The log of the run's KV memory.
    """

    tracer: Tracer
    requests: list[KVRequest]
    operations: list[Recorded] = field(default_factory=list)

    def __call__(self, golden: Golden, operation: Operation, tile: Tile, written: Values) -> None:
        """Append an operation that ran."""
        self.tracer(golden, operation, tile, written)
        rows = tile.selected(operation.predicate)
        before = self.operations[-1].requests[1] if self.operations else 0
        self.operations.append(
            Recorded(
                record=self.tracer.trace.records[-1],
                operation=operation,
                inputs=[np.array(tile.take(name, rows)) for name in operation.inputs],
                kv=_entries(operation, tile),
                tile_tokens=len(tile.tokens),
                requests=(before, len(self.requests)),
            )
        )


def _entries(operation: Operation, tile: Tile) -> list[NDArray[Any]]:
    cache, layer = tile.sequence.cache, operation.layer
    entries = tile.start + len(tile.tokens)
    if operation.operator is Operator.SCORES:
        return [cache.keys[layer][:, :entries].copy()]
    if operation.operator is Operator.ATTEND:
        return [part[layer][:, :entries].copy() for part in (cache.values, cache.exponents)]
    if operation.operator is Operator.KV_ORDER:
        return [part[layer][:, :entries].copy() for part in (cache.keys, cache.values)]
    return []
