"""Give buffers their addresses: first fit over lifetimes."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from hwroute.compiler.draft import Buffer, Draft, Store


@dataclass(eq=False, kw_only=True)
class ShortageError(Exception):
    """A store is too small.

    Parameters
    ----------
    store, needed, room
        Which, and how much of it.
    """

    store: Store
    needed: int
    room: int


def allocate(
    drafts: Iterable[Draft], kept: Iterable[Buffer], room: Mapping[Store, int]
) -> dict[Store, int]:
    """Place every buffer of a body, and return how much of each store is used.

    A buffer lives from the first instruction that names it to the last; places of the dead are
    used again. `kept` buffers outlive the body: they have addresses already and keep them.

    Raises
    ------
    ShortageError
        A store is too small.
    """
    lives = lifetimes(drafts)
    fixed = [buffer for buffer in kept if buffer.address is not None]
    used = dict.fromkeys(room, 0)
    for buffer in fixed:
        used[buffer.store] = max(used[buffer.store], _end(buffer))
    living: list[Buffer] = []
    for buffer in sorted(lives, key=lambda one: lives[one][0]):
        if buffer in fixed:
            continue
        start = lives[buffer][0]
        living = [one for one in living if lives[one][1] >= start]
        neighbours = [one for one in (*fixed, *living) if one.store is buffer.store]
        buffer.address = _first_fit(neighbours, buffer)
        living.append(buffer)
        used[buffer.store] = max(used[buffer.store], _end(buffer))
    for store, needed in used.items():
        if needed > room[store]:
            raise ShortageError(store=store, needed=needed, room=room[store])
    return used


def lifetimes(drafts: Iterable[Draft]) -> dict[Buffer, tuple[int, int]]:
    """Return first and last instruction of every buffer of a body, but for state."""
    lives: dict[Buffer, tuple[int, int]] = {}
    for index, draft in enumerate(drafts):
        for span in (*draft.reads, *draft.writes):
            if span.buffer.store is not Store.STATE:
                lives[span.buffer] = (lives.get(span.buffer, (index, index))[0], index)
    return lives


def _first_fit(neighbours: list[Buffer], buffer: Buffer) -> int:
    # Plane 0 is the one of every token.
    at = 1 if buffer.store is Store.PLANE else 0
    for other in sorted(neighbours, key=_start):
        if _start(other) >= at + buffer.size:
            break
        at = max(at, _end(other))
    return at


def _start(buffer: Buffer) -> int:
    assert buffer.address is not None
    return buffer.address


def _end(buffer: Buffer) -> int:
    return _start(buffer) + buffer.size
