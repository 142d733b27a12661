"""The three bodies of a Program: a tile of the prompt, a token of the answer, the head."""

from dataclasses import dataclass

from hwroute.compiler.context import Body, Plan, Target
from hwroute.compiler.draft import At, Draft, Matrix, Span, Store
from hwroute.compiler.lowering import Lowering
from hwroute.compiler.schedule import schedule
from hwroute.isa.fields import QUEUED
from hwroute.operations import Operation


@dataclass(frozen=True, kw_only=True)
class Bodies:
    """Instructions of each body; every one ends when all units have finished.

    Parameters
    ----------
    prefill, decode
        All layers, for a tile of the prompt and for one token.
    head
        Last norm, head and argmax, for the last token of the tile before it.
    """

    prefill: list[Draft]
    decode: list[Draft]
    head: list[Draft]


def lower_layers(
    plan: Plan, target: Target, operations: tuple[Operation, ...], x: Matrix
) -> list[Draft]:
    """Return the instructions of all layers for a tile."""
    body = Body(plan)
    lowering = Lowering(body, target, operations, x)
    embedding, *layers, _ = schedule(operations, decode=plan.decode)
    lowering.segment(embedding, [])
    lowering.load_vectors(layers[0])
    lowering.load_tables()
    for segment, following in zip(layers, [*layers[1:], []], strict=True):
        lowering.segment(segment, following)
    return _finished(body)


def lower_head(
    plan: Plan, target: Target, operations: tuple[Operation, ...], x: Matrix
) -> list[Draft]:
    """Return the instructions that make the next token id of the last row of `x`."""
    body = Body(plan)
    last = body.buffer("last", Store.PLANE, 1)
    body.emit("select", {"to": At(last)}, writes=(Span(last),), note="the tile's last token")
    head = schedule(operations, decode=False)[-1]
    lowering = Lowering(body, target, operations, x, every=last)
    lowering.load_vectors(head)
    lowering.segment(head, [])
    return _finished(body)


def _finished(body: Body) -> list[Draft]:
    body.operation = ""
    body.emit("sync", {}, note="until every unit has finished", every=True)
    body.drafts[-1].wait |= set(QUEUED)
    return body.drafts
