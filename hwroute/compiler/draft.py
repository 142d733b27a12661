"""Instructions before addresses are known: buffers, and what each instruction reads and writes."""

from dataclasses import dataclass, field
from enum import Enum

from hwroute.isa.fields import Unit
from hwroute.isa.table import BY_NAME


class Store(Enum):
    """What the compiler allocates."""

    SCRATCHPAD = "scratchpad"
    """In lines."""
    STATISTICS = "statistics"
    """In words."""
    PLANE = "plane"
    """Bitmask planes."""
    STATE = "state"
    """Not allocated: state of which there is one, such as the order of KV entries."""


@dataclass(eq=False, kw_only=True)
class Buffer:
    """Something that needs a place while it lives.

    Parameters
    ----------
    name
        What listings and errors call it.
    store, size
        Where, and how much.
    address
        None until it is allocated.
    """

    name: str
    store: Store
    size: int
    address: int | None = None


@dataclass(frozen=True)
class At:
    """A field's value: a buffer's address, plus `offset`."""

    buffer: Buffer
    offset: int = 0


Value = int | str | At
"""Of a field: a number, the name of a choice or a register, or the address of a buffer."""


@dataclass(frozen=True)
class Span:
    """Lines `start` to `stop` of every row of a buffer; words or the whole thing elsewhere."""

    buffer: Buffer
    start: int = 0
    stop: int = 1 << 30

    def overlaps(self, other: "Span") -> bool:
        """Tell whether the two share anything, addresses being known."""
        if self.buffer is other.buffer:
            return self.start < other.stop and other.start < self.stop
        a, b = self.buffer, other.buffer
        if a.store is not b.store or a.address is None or b.address is None:
            return False
        return a.address < b.address + b.size and b.address < a.address + a.size


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """Rows of a buffer in the scratchpad, `pitch` lines apart; pitch 0 is one row for all."""

    buffer: Buffer
    lines: int
    pitch: int

    def fields(self, name: str, line: int = 0) -> dict[str, Value]:
        """Return address and pitch fields `name` of an operand that begins at a line of a row."""
        return {name: At(self.buffer, line), f"{name}_pitch": self.pitch}

    def span(self, start: int = 0, stop: int | None = None) -> Span:
        """Return lines `start` to `stop` of every row."""
        return Span(self.buffer, start, self.lines if stop is None else stop)


@dataclass(kw_only=True)
class Draft:
    """One instruction to be.

    Parameters
    ----------
    name, values
        Mnemonic and fields; ``target`` is in `target`.
    reads, writes
        What decides its dependences.
    operation
        Name of the operation that it is part of, "" for none.
    note
        What the listing says.
    target
        Label to go on at.
    labels
        Its own labels.
    wait, signal
        Filled in by `hwroute.compiler.dependences`.
    """

    name: str
    values: dict[str, Value]
    reads: tuple[Span, ...] = ()
    writes: tuple[Span, ...] = ()
    operation: str = ""
    note: str = ""
    target: str = ""
    labels: list[str] = field(default_factory=list)
    wait: set[Unit] = field(default_factory=set)
    signal: set[Unit] = field(default_factory=set)

    @property
    def unit(self) -> Unit:
        """Where it will execute."""
        return BY_NAME[self.name].unit
