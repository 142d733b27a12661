"""Order instructions of different units by tokens, and what crosses a branch by draining.

A unit executes its instructions in order, as if one at a time, so only an instruction that needs
what *another* unit writes (or reads, before it is overwritten) must wait: for a token that the
other gives when it is done. Tokens never cross a boundary, which is where the sequencer may go one
way or another: there it waits instead until the units concerned have finished all they were given.
"""

from hwroute.compiler.draft import Draft
from hwroute.isa.fields import QUEUED, Unit

Known = dict[Unit, dict[Unit, int]]
"""``known[unit][other]``: the last instruction of `other` that has surely finished when the next
one of `unit` starts."""


def synchronise(drafts: list[Draft]) -> None:
    """Fill in ``wait`` and ``signal`` of a body; addresses must be known.

    A boundary is a control instruction, and an instruction that has a label. Branches go forward.
    The caller ends the body with a ``sync`` of all units.
    """
    _Synchroniser(drafts).run()


class _Synchroniser:
    """One pass over a body.

    Since a unit works in order, of the earlier instructions of another unit that one conflicts
    with, only the latest matters.
    """

    def __init__(self, drafts: list[Draft]):
        self.drafts = drafts
        self.known: Known = {unit: dict.fromkeys(QUEUED, -1) for unit in QUEUED}
        self.history: dict[Unit, list[int]] = {unit: [] for unit in QUEUED}
        self.after: dict[int, dict[Unit, int]] = {}
        self.taken: dict[str, list[Known]] = {}
        """What is known where a branch to a label is taken."""
        self.boundary = -1

    def run(self) -> None:
        for index, draft in enumerate(self.drafts):
            if draft.unit is Unit.CONTROL or (draft.labels and index):
                self._pass_boundary(index, draft)
            else:
                self._order(index, draft)

    def _pass_boundary(self, index: int, draft: Draft) -> None:
        if draft.unit is not Unit.CONTROL:
            raise AssertionError(f"{draft.labels[0]} must label a control instruction")
        for label in draft.labels:
            for other in self.taken.pop(label, ()):
                self.known = _both(self.known, other)
        self.boundary = index
        if draft.target:
            self.taken.setdefault(draft.target, []).append(_both(self.known, self.known))
        for unit in draft.wait:
            self._drained(unit)

    def _drained(self, drained: Unit) -> None:
        """Note that the boundary waits for a unit, whichever way the sequencer goes on."""
        snapshot = self.taken.get(self.drafts[self.boundary].target, [])[-1:]
        for known in (self.known, *snapshot):
            for unit in known:
                known[unit][drained] = max(known[unit][drained], self.boundary)

    def _order(self, index: int, draft: Draft) -> None:
        mine = self.known[draft.unit]
        others = [unit for unit in QUEUED if unit is not draft.unit]
        latest = {other: self._latest_conflict(other, draft, mine[other]) for other in others}
        # The latest first: it may imply the others.
        for other in sorted(others, key=lambda unit: -latest[unit]):
            earlier = latest[other]
            if earlier <= mine[other]:
                continue
            if earlier < self.boundary:
                self.drafts[self.boundary].wait.add(other)
                self._drained(other)
                continue
            self.drafts[earlier].signal.add(draft.unit)
            draft.wait.add(other)
            for unit, last in self.after[earlier].items():
                mine[unit] = max(mine[unit], last)
        mine[draft.unit] = index
        self.after[index] = dict(mine)
        self.history[draft.unit].append(index)

    def _latest_conflict(self, other: Unit, draft: Draft, finished: int) -> int:
        """Return the last instruction of `other` after `finished` that must come first, or -1."""
        for earlier in reversed(self.history[other]):
            if earlier <= finished:
                break
            if _conflict(self.drafts[earlier], draft):
                return earlier
        return -1


def _both(one: Known, other: Known) -> Known:
    """Return what is known either way."""
    return {
        unit: {drained: min(last, other[unit][drained]) for drained, last in row.items()}
        for unit, row in one.items()
    }


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
