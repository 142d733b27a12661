"""Order instructions of different units by tokens, and what crosses a branch by draining.

A unit executes its instructions in order, as if one at a time, so only an instruction that needs
what *another* unit writes (or reads, before it is overwritten) must wait: for a token that the
other gives when it is done. Tokens never cross a boundary, which is where the sequencer may go one
way or another: there it waits instead until the units concerned have finished all they were given.
"""

from hwroute.compiler.draft import Draft
from hwroute.isa.fields import QUEUED, Unit


def synchronise(drafts: list[Draft]) -> None:
    """Fill in ``wait`` and ``signal`` of a body; addresses must be known.

    A boundary is a control instruction, and an instruction that has a label. The caller ends the
    body with a ``sync`` of all units.
    """
    edges = _hazards(drafts)
    boundaries = [
        index
        for index, draft in enumerate(drafts)
        if draft.unit is Unit.CONTROL or (draft.labels and index)
    ]
    for index in boundaries:
        draft = drafts[index]
        if draft.unit is not Unit.CONTROL:
            raise AssertionError(f"{draft.labels[0]} must label a control instruction")
        crossing = {
            drafts[first].unit
            for second in edges
            for first in edges[second]
            if first < index <= second
        }
        draft.wait |= crossing - {Unit.CONTROL}
    _give_tokens(drafts, edges)


def _hazards(drafts: list[Draft]) -> dict[int, list[int]]:
    """Return, by instruction, earlier instructions of other units that it must come after."""
    edges: dict[int, list[int]] = {}
    since = 0
    for index, draft in enumerate(drafts):
        if draft.name == "sync" and draft.wait == set(QUEUED):
            since = index
        for earlier in range(since, index):
            other = drafts[earlier]
            if other.unit is not draft.unit and _conflict(other, draft):
                edges.setdefault(index, []).append(earlier)
    return edges


def _conflict(first: Draft, second: Draft) -> bool:
    """Tell whether one writes what the other reads or writes."""
    return any(
        a.overlaps(b)
        for writes, others in (
            (first.writes, (*second.reads, *second.writes)),
            (second.writes, first.reads),
        )
        for a in writes
        for b in others
    )


def _give_tokens(drafts: list[Draft], edges: dict[int, list[int]]) -> None:
    """Turn edges into tokens, leaving out those that others imply.

    `known[unit][other]` is the last instruction of `other` that has surely finished when the next
    one of `unit` starts.
    """
    known: dict[Unit, dict[Unit, int]] = {unit: dict.fromkeys(QUEUED, -1) for unit in QUEUED}
    after: dict[int, dict[Unit, int]] = {}
    for index, draft in enumerate(drafts):
        if draft.unit is Unit.CONTROL:
            for unit in known:
                for drained in draft.wait:
                    known[unit][drained] = max(known[unit][drained], index)
            continue
        mine = known[draft.unit]
        # The latest first: it may imply the others.
        for earlier in sorted(edges.get(index, ()), reverse=True):
            other = drafts[earlier].unit
            if other is Unit.CONTROL or mine[other] >= earlier:
                continue
            drafts[earlier].signal.add(draft.unit)
            draft.wait.add(other)
            for unit, last in after[earlier].items():
                mine[unit] = max(mine[unit], last)
        mine[draft.unit] = index
        after[index] = dict(mine)
