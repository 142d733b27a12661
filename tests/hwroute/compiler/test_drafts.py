"""Addresses and tokens of drafts."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwroute.compiler.allocate import ShortageError, allocate
from hwroute.compiler.dependences import synchronise
from hwroute.compiler.draft import Buffer, Draft, Span, Store
from hwroute.isa.fields import QUEUED, Unit

NAMES = {
    Unit.DMA: "load",
    Unit.ARRAY: "matmul",
    Unit.NPE: "swiglu",
    Unit.ROUTER: "decide",
    Unit.KV: "kv.write",
}


def _buffer(name: str, size: int = 4, store: Store = Store.SCRATCHPAD) -> Buffer:
    return Buffer(name=name, store=store, size=size)


def _draft(unit: Unit, reads: list[Buffer], writes: list[Buffer]) -> Draft:
    return Draft(
        name=NAMES[unit],
        values={},
        reads=tuple(Span(one) for one in reads),
        writes=tuple(Span(one) for one in writes),
    )


def test_places_of_the_dead_are_used_again() -> None:
    x, a, b = _buffer("x"), _buffer("a"), _buffer("b")
    x.address = 0
    drafts = [
        _draft(Unit.DMA, [x], [a]),
        _draft(Unit.NPE, [a], [x]),
        _draft(Unit.DMA, [x], [b]),
    ]
    used = allocate(drafts, [x], {Store.SCRATCHPAD: 8, Store.PLANE: 8})
    assert (x.address, a.address, b.address) == (0, 4, 4)
    assert used[Store.SCRATCHPAD] == 8


def test_planes_start_behind_that_of_every_token() -> None:
    plane = _buffer("plane", 1, Store.PLANE)
    allocate([_draft(Unit.ROUTER, [], [plane])], [], {Store.PLANE: 8})
    assert plane.address == 1


def test_a_shortage_says_what_and_how_much() -> None:
    with pytest.raises(ShortageError) as caught:
        allocate([_draft(Unit.DMA, [], [_buffer("a", 9)])], [], {Store.SCRATCHPAD: 8})
    assert (caught.value.store, caught.value.needed, caught.value.room) == (
        Store.SCRATCHPAD,
        9,
        8,
    )


def test_a_token_orders_reader_behind_writer_and_implied_ones_are_left_out() -> None:
    a, b = _buffer("a"), _buffer("b")
    a.address, b.address = 0, 4
    drafts = [
        _draft(Unit.DMA, [], [a]),
        _draft(Unit.NPE, [a], [b]),
        _draft(Unit.ARRAY, [a, b], []),
    ]
    synchronise(drafts)
    assert [draft.signal for draft in drafts] == [{Unit.NPE}, {Unit.ARRAY}, set()]
    assert [draft.wait for draft in drafts] == [set(), {Unit.DMA}, {Unit.NPE}]


def test_what_crosses_a_branch_is_drained_there() -> None:
    a = _buffer("a")
    a.address = 0
    drafts = [
        _draft(Unit.DMA, [], [a]),
        Draft(name="branch.empty", values={}, target="end"),
        _draft(Unit.NPE, [a], [a]),
        Draft(name="sync", values={}, labels=["end"]),
        _draft(Unit.ARRAY, [a], []),
    ]
    synchronise(drafts)
    assert [draft.wait for draft in drafts] == [
        set(),
        {Unit.DMA},
        set(),
        {Unit.NPE},
        set(),
    ]
    assert not any(draft.signal for draft in drafts)


@st.composite
def bodies(draw: st.DrawFn) -> list[Draft]:
    """Draw straight code over four buffers, two of which share addresses."""
    buffers = [_buffer(name) for name in "abcd"]
    for buffer, address in zip(buffers, (0, 4, 8, 10), strict=True):
        buffer.address = address
    some = st.lists(st.sampled_from(buffers), max_size=2)
    return [
        _draft(draw(st.sampled_from(QUEUED)), draw(some), draw(some))
        for _ in range(draw(st.integers(1, 14)))
    ]


@given(bodies(), st.randoms(use_true_random=False))
def test_tokens_keep_every_hazard_in_order_whatever_the_units_timing(
    drafts: list[Draft], random: Random
) -> None:
    synchronise(drafts)
    tokens = {(a, b): 0 for a in QUEUED for b in QUEUED}
    queues = {unit: [i for i, one in enumerate(drafts) if one.unit is unit] for unit in QUEUED}
    done: list[int] = []
    while any(queues.values()):
        ready = [
            unit
            for unit in QUEUED
            if queues[unit] and all(tokens[src, unit] for src in drafts[queues[unit][0]].wait)
        ]
        assert ready, "tokens must never dead-lock"
        unit = random.choice(ready)
        index = queues[unit].pop(0)
        for source in drafts[index].wait:
            tokens[source, unit] -= 1
        for target in drafts[index].signal:
            tokens[unit, target] += 1
        done.append(index)
    assert not any(tokens.values())
    place = {index: at for at, index in enumerate(done)}
    for first, a in enumerate(drafts):
        for second in range(first + 1, len(drafts)):
            b = drafts[second]
            if _clash(a, b):
                assert place[first] < place[second]


def test_what_is_drained_inside_a_branch_is_not_known_behind_it() -> None:
    a = _buffer("a")
    a.address = 0
    drafts = [
        _draft(Unit.DMA, [], [a]),
        Draft(name="branch.empty", values={}, target="outer"),
        Draft(name="branch.empty", values={}, target="inner"),
        _draft(Unit.NPE, [a], []),
        Draft(name="sync", values={}, labels=["inner"]),
        Draft(name="sync", values={}, labels=["outer"]),
        _draft(Unit.ARRAY, [a], []),
    ]
    synchronise(drafts)
    waits = [draft.wait for draft in drafts]
    assert waits == [set(), set(), {Unit.DMA}, set(), set(), {Unit.DMA}, set()]


@st.composite
def branching_bodies(draw: st.DrawFn) -> list[Draft]:
    """Draw pieces of straight code, some of which a branch may jump over, nested or not."""
    drafts: list[Draft] = []
    for number in range(draw(st.integers(1, 4))):
        inside = draw(bodies())
        if draw(st.booleans()):
            label = f"end{number}"
            middle = len(inside) // 2
            inner = [Draft(name="branch.empty", values={}, target=label), *inside[:middle]]
            if draw(st.booleans()):
                nested = Draft(name="branch.empty", values={}, target=f"{label}.inner")
                end = Draft(name="sync", values={}, labels=[f"{label}.inner"])
                inner += [nested, *inside[middle:], end]
            else:
                inner += inside[middle:]
            inside = [*inner, Draft(name="sync", values={}, labels=[label])]
        drafts += inside
    return [*_same_buffers(drafts), Draft(name="sync", values={}, wait=set(QUEUED))]


def _same_buffers(drafts: list[Draft]) -> list[Draft]:
    """Make buffers of one name one buffer: each piece drew its own."""
    buffers: dict[str, Buffer] = {}
    for draft in drafts:
        for names in ("reads", "writes"):
            spans = getattr(draft, names)
            same = tuple(Span(buffers.setdefault(one.buffer.name, one.buffer)) for one in spans)
            setattr(draft, names, same)
    return drafts


@given(branching_bodies(), st.randoms(use_true_random=False))
def test_whatever_branches_are_taken_every_hazard_is_kept_in_order(
    drafts: list[Draft], random: Random
) -> None:
    synchronise(drafts)
    labels = {label: index for index, one in enumerate(drafts) for label in one.labels}
    tokens = {(a, b): 0 for a in QUEUED for b in QUEUED}
    queues: dict[Unit, list[int]] = {unit: [] for unit in QUEUED}
    done: list[int] = []

    def step() -> bool:
        ready = [
            unit
            for unit in QUEUED
            if queues[unit] and all(tokens[src, unit] for src in drafts[queues[unit][0]].wait)
        ]
        if not ready:
            return False
        unit = random.choice(ready)
        index = queues[unit].pop(0)
        for source in drafts[index].wait:
            tokens[source, unit] -= 1
        for target in drafts[index].signal:
            tokens[unit, target] += 1
        done.append(index)
        return True

    index = 0
    while index < len(drafts):
        draft = drafts[index]
        while random.random() < 0.5 and step():
            pass
        if draft.unit is not Unit.CONTROL:
            queues[draft.unit].append(index)
        else:
            while any(queues[unit] for unit in draft.wait):
                assert step(), "tokens must never dead-lock"
        taken = draft.target and random.random() < 0.5
        index = labels[draft.target] if taken else index + 1
    assert not any(tokens.values())
    for place, second in enumerate(done):
        for first in done[place + 1 :]:
            if first < second:
                assert not _clash(drafts[first], drafts[second])


def _clash(a: Draft, b: Draft) -> bool:
    pairs = [(x, y) for x in a.writes for y in (*b.reads, *b.writes)]
    pairs += [(x, y) for x in a.reads for y in b.writes]
    return any(x.overlaps(y) for x, y in pairs)
