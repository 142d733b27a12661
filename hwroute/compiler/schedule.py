"""Cut the list of operations into sub-layers, and move what may begin early."""

from itertools import pairwise

from hwroute.operations import Operation, Operator

Segment = list[Operation]
"""Operations of one sub-layer, in the order in which they are lowered."""


def schedule(operations: tuple[Operation, ...], *, decode: bool) -> list[Segment]:
    """Return the segments: embedding, sub-layer after sub-layer, and last the head.

    A router that reads the layer input decides before the layer's attention, so that the residual
    may be added in place behind it. In decode the entries of an attention are ordered as soon as
    it is known to execute: they do not include the token's own.
    """
    segments: list[Segment] = []
    for operation in operations:
        if not segments or _place(segments[-1][0]) != _place(operation):
            segments.append([])
        segments[-1].append(operation)
    for before, segment in pairwise(segments):
        _move_early_route(before, segment)
    if decode:
        for segment in segments:
            _move_order(segment)
    return segments


def _place(operation: Operation) -> tuple[int | None, str]:
    """Return layer and kind of an operation; embedding and head are places of their own."""
    if operation.layer is not None:
        return operation.layer, operation.name.split(".")[2]
    return None, "embed" if operation.operator is Operator.EMBED else "head"


def _move_early_route(before: Segment, segment: Segment) -> None:
    route = [one for one in segment if one.name.endswith(".route")]
    if not route:
        return
    early = [*route, *(one for one in segment if one.operator is Operator.DECIDE)]
    for operation in early:
        segment.remove(operation)
    before[:0] = early


def _move_order(segment: Segment) -> None:
    for index, order in enumerate(segment):
        if order.operator is not Operator.KV_ORDER:
            continue
        first = index
        while (
            first > 0
            and segment[first - 1].predicate == order.predicate
            and segment[first - 1].operator not in (Operator.REDUCE, Operator.DECIDE)
        ):
            first -= 1
        segment.insert(first, segment.pop(index))
