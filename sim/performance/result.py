"""What a run of the performance model tells: instructions, cycles, bytes, busy units."""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import NamedTuple

from hwroute.isa.fields import QUEUED, Unit
from hwroute.sim.performance.moves import Move
from hwroute.timing import UNIT_QUEUE_CYCLES

HBM_KINDS = ("weights", "dropped", "kv_read", "kv_written")
DDR_KINDS = ("scales", "dropped_scales", "ddr_read", "ddr_written", "program")


@dataclass(slots=True)
class Event:
    """One instruction of a unit that was executed; times in cycles of the machine.

    Parameters
    ----------
    index, name, unit
        Of the instruction.
    position, rows
        Registers that it was issued with.
    handed, issued, retired
        Given to the unit's queue; tokens taken; all it writes written.
    moved
        Bytes by kind, as `Traffic` has them.
    products
        That the array multiplied and added; masked ones do not count.
    """

    index: int
    name: str
    unit: Unit
    position: int
    rows: int
    handed: float
    issued: float = 0.0
    retired: float = 0.0
    moved: dict[str, int] = field(default_factory=dict)
    products: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Attention:
    """What attention of a layer met when its entries were ordered.

    Parameters
    ----------
    layer, tokens
        Which, and of how many tokens it may take entries.
    entries, hits
        That it takes, and how many of them from the history buffer.
    held
        Entries that the buffer then holds for the next layer.
    """

    layer: int
    tokens: int
    entries: int
    hits: int
    held: int


@dataclass(kw_only=True)
class Traffic:
    """Bytes by kind.

    Members
    -------
    kinds
        ``weights``, ``scales``, ``kv_read``, ``kv_written``, ``kv_hits`` (from the history
        buffer), ``ddr_read``, ``ddr_written``, ``program``; ``dropped`` and ``dropped_scales``
        (weights and scales that were read for a sub-layer that was skipped).
    """

    kinds: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def add(self, kind: str, size: int) -> None:
        """Count bytes."""
        self.kinds[kind] += size

    @property
    def hbm(self) -> int:
        """Bytes that HBM moved."""
        return sum(self.kinds[kind] for kind in HBM_KINDS)

    @property
    def ddr(self) -> int:
        """Bytes that DDR moved."""
        return sum(self.kinds[kind] for kind in DDR_KINDS)


class Read(NamedTuple):
    """One read of K or V by the array.

    Parameters
    ----------
    start, end
        First request and last data, cycles.
    handed
        Bytes of K or V that the array was given, from HBM or from the history buffer.
    """

    start: float
    end: float
    handed: int


@dataclass(kw_only=True)
class Run:
    """A stretch of a Program.

    Parameters
    ----------
    start, end
        Cycles.
    events
        In order of their end.
    traffic
        Bytes by kind.
    marks
        Cycle in which the sequencer reached the label ``next``, each time: the end of the prompt,
        then of each token of the answer.
    port_busy
        Cycles in which each HBM port moved data.
    reads
        Each read of K or V by the array.
    attentions
        What attention met, each time that entries were ordered.
    hbm_moves, ddr_moves
        When the ports of the memories moved data.
    """

    start: float
    end: float
    events: list[Event]
    traffic: Traffic
    marks: list[float]
    port_busy: list[float]
    reads: list[Read]
    attentions: list[Attention]
    hbm_moves: list[Move]
    ddr_moves: list[Move]

    @property
    def cycles(self) -> float:
        """How long it took."""
        return self.end - self.start

    @property
    def read_cycles(self) -> float:
        """Cycles in which the array's reads of K or V were under way."""
        return covered([(one.start, one.end) for one in self.reads])

    @property
    def handed_bytes(self) -> int:
        """Bytes of K and V that the array was given."""
        return sum(one.handed for one in self.reads)

    def busy(self) -> dict[Unit, float]:
        """Return the cycles in which each unit had an instruction issued and not ended."""
        spans: dict[Unit, list[tuple[float, float]]] = {unit: [] for unit in QUEUED}
        for event in self.events:
            spans[event.unit].append((event.issued, event.retired))
        return {unit: covered(parts) for unit, parts in spans.items()}

    def waits(self) -> dict[Unit, float]:
        """Return the cycles in which each unit's next instruction lacked a token or a place."""
        spans: dict[Unit, list[tuple[float, float]]] = {unit: [] for unit in QUEUED}
        for event in self.events:
            spans[event.unit].append((event.handed + UNIT_QUEUE_CYCLES, event.issued))
        return {unit: covered(parts) for unit, parts in spans.items()}

    def classes(self) -> dict[str, tuple[int, float]]:
        """Return number and summed cycles, issue to end, of each mnemonic."""
        sums: dict[str, tuple[int, float]] = {}
        for event in self.events:
            count, cycles = sums.get(event.name, (0, 0.0))
            sums[event.name] = count + 1, cycles + event.retired - event.issued
        return sums


def covered(spans: list[tuple[float, float]]) -> float:
    """Return the length of a union of spans."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total
