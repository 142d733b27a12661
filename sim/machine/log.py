"""The log that the simulated machine writes: what its units begin, write and end.

A line of text for each event, the cycle in decimal, counted from the start of the run, payloads in
hexadecimal, in the order of the cycles::

    I unit cycle payload    an instruction is issued; `hwroute.rtl.issue_layouts.ISSUED`
    D unit cycle payload    an instruction ended; `hwroute.rtl.issue_layouts.DONE`
    W unit cycle payload    a scratchpad write; `hwroute.rtl.scratchpad_layouts.WRITE`
    S unit cycle word value a statistics word is written (both in hexadecimal)
    P cycle planes          the planes have changed: plane p from bit p * (rows of a plane) on
    K cycle payload         a slot is given away; `hwroute.rtl.kv_layouts.slot_layout`
    O cycle payload         an entry of an order, or its end; `hwroute.rtl.kv_layouts.order_layout`
    T cycle value           the register `token` is written

A log that was cut off, as a simulator that was stopped leaves it, ends with its last whole line.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from itertools import groupby
from pathlib import Path

from amaranth.lib import data

from hwroute.errors import InputError
from hwroute.isa.fields import QUEUED, Unit

NAMED = {unit.name.lower(): unit for unit in QUEUED}


class Kind(Enum):
    """Kinds of events, in the order in which those of one cycle count."""

    ISSUE = "I"
    WRITE = "W"
    STATISTIC = "S"
    PLANES = "P"
    SLOT = "K"
    ENTRY = "O"
    TOKEN = "T"
    DONE = "D"


UNIT_OF = {
    Kind.PLANES: Unit.ROUTER,
    Kind.SLOT: Unit.KV,
    Kind.ENTRY: Unit.KV,
    Kind.TOKEN: Unit.NPE,
}
"""Who causes events that name no unit."""
RANK = {kind: rank for rank, kind in enumerate(Kind)}
OF_LETTER = {kind.value: kind for kind in Kind}


@dataclass(frozen=True, kw_only=True)
class Event:
    """One line of the log.

    Parameters
    ----------
    kind, unit, cycle
        What, who, when.
    payload
        As a number; of a `Kind.STATISTIC` the value.
    word
        Of a `Kind.STATISTIC`.
    """

    kind: Kind
    unit: Unit
    cycle: int
    payload: int
    word: int = 0


def read_log(path: Path) -> Iterator[Event]:
    """Yield the events of a log, cycle by cycle; in a cycle an instruction's end comes last.

    Raises
    ------
    InputError
        A line that is none of a log, with its number.
    """
    with path.open() as lines:
        yield from ordered(parse(lines))


def ordered(events: Iterable[Event]) -> Iterator[Event]:
    """Yield events with those of a cycle in the order of `Kind`."""
    for _, together in groupby(events, key=lambda event: event.cycle):
        yield from sorted(together, key=lambda event: RANK[event.kind])


def parse(lines: Iterable[str]) -> Iterator[Event]:
    """Yield the events of lines; the last one may be cut off."""
    for number, line in enumerate(lines, 1):
        if not line.endswith("\n"):
            return
        try:
            yield _event(line)
        except (KeyError, ValueError) as error:
            raise InputError(
                f"line {number} of the log must be an event, not {line.rstrip()!r}"
            ) from error


def _event(line: str) -> Event:
    letter, *rest = line.split()
    kind = OF_LETTER[letter]
    unit = UNIT_OF[kind] if kind in UNIT_OF else NAMED[rest.pop(0)]
    word = int(rest.pop(1), 16) if kind is Kind.STATISTIC else 0
    cycle, payload = rest
    return Event(kind=kind, unit=unit, cycle=int(cycle), payload=int(payload, 16), word=word)


def field(layout: data.StructLayout, payload: int, name: str) -> int:
    """Return a field of a payload as an unsigned number."""
    one = layout[name]
    return payload >> int(one.offset) & ((1 << int(one.width)) - 1)
