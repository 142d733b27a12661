"""Hold the simulated machine to the interpreter, instruction by instruction, write by write."""

from collections import defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass

from hwroute.isa.fields import LINE_BYTES, LINE_ELEMENTS, QUEUED, Unit
from hwroute.models.interpreter.journal import Journal, Space, Step
from hwroute.program import Program
from hwroute.rtl.issue_layouts import DONE, ISSUED
from hwroute.rtl.kv_layouts import order_layout, slot_layout
from hwroute.rtl.scratchpad_layouts import LINE_NUMBER_BITS
from hwroute.sim.machine.divergence import NOTHING, Divergence, Reporter
from hwroute.sim.machine.log import Event, Kind, field
from hwroute.sim.machine.pending import ENTRY_FIELDS, OTHER_BITS, Mismatch, Pending

LOGGED = (
    Space.SCRATCHPAD,
    Space.STATISTICS,
    Space.PLANES,
    Space.TOKEN,
    Space.SLOTS,
    Space.ORDER,
)
"""Spaces whose writes the log has; what is in DDR and HBM shows in the memories after the run."""
LINE_BITS = 8 * LINE_BYTES
SLOT_ELEMENTS = ("port", "slot")


@dataclass(frozen=True, kw_only=True)
class Lockstep:
    """The result.

    Parameters
    ----------
    events
        Of the log that were looked at.
    instructions
        That ended, all that they wrote being equal.
    divergence
        The first, None where all is equal.
    """

    events: int
    instructions: int
    divergence: Divergence | None

    @property
    def match(self) -> bool:
        """Whether the machine did what the interpreter did, all of it and nothing else."""
        return self.divergence is None


def follow(program: Program, journal: Journal, events: Iterable[Event]) -> Lockstep:
    """Compare the events of a run with a journal of the same run, up to the first divergence.

    Every unit must begin the interpreter's instructions in their order, with equal registers. A
    write is held to the oldest instruction of its unit that has yet to write in the same space,
    in any order of its places, each once. When it ends, an instruction must have written all.
    """
    follower = _Follower(program, journal)
    count, cycle = 0, 0
    divergence = None
    for event in events:
        count, cycle = count + 1, event.cycle
        divergence = follower.take(event)
        if divergence:
            break
    else:
        divergence = follower.unfinished(cycle)
    return Lockstep(events=count, instructions=sum(follower.ended.values()), divergence=divergence)


class _Follower:
    """Go through the instructions of each unit as events say."""

    def __init__(self, program: Program, journal: Journal):
        self._reporter = Reporter(program)
        self._slot = slot_layout(program.config.kv)
        self._entry = order_layout(program.config.kv)
        self._tile = program.config.array.accumulator_rows
        self._journal = journal
        self._steps: dict[Unit, list[Step]] = {unit: [] for unit in QUEUED}
        for step in journal.steps:
            self._steps[step.unit].append(step)
        self._issued = dict.fromkeys(QUEUED, 0)
        self.ended = dict.fromkeys(QUEUED, 0)
        self._open: dict[tuple[Unit, Space], deque[Pending]] = defaultdict(deque)
        self._planes = 0
        self._entries = 0

    def take(self, event: Event) -> Divergence | None:
        """Take an event; return the divergence that it shows."""
        if event.kind is Kind.ISSUE:
            return self._issue(event)
        if event.kind is Kind.DONE:
            return self._end(event)
        if event.kind is Kind.PLANES:
            return self._change(event)
        space, place, bits, mask = self._write_of(event)
        return self._write(event, space, place, bits, mask) if mask else None

    def unfinished(self, cycle: int) -> Divergence | None:
        """Return the first instruction that has not ended at the end of the log."""
        seen = dict.fromkeys(QUEUED, 0)
        for step in self._journal.steps:
            unit, number = step.unit, seen[step.unit]
            seen[unit] += 1
            if number >= self.ended[unit]:
                state = "begun, not ended" if number < self._issued[unit] else "not begun"
                return self._reporter.report(step, "end", cycle, "ended", state)
        return None

    def _issue(self, event: Event) -> Divergence | None:
        found = tuple(field(ISSUED, event.payload, one) for one in ("index", "position", "rows"))
        steps, number = self._steps[event.unit], self._issued[event.unit]
        if number == len(steps):
            return self._beyond(event, _place(*found))
        step = steps[number]
        expected = (step.index, step.position, step.rows)
        word = field(ISSUED, event.payload, "word")
        if found != expected:
            return self._reporter.report(
                step, "issue", event.cycle, _place(*expected), _place(*found)
            )
        if word != step.instruction.encode():
            encoded = f"word 0x{step.instruction.encode():x}"
            return self._reporter.report(step, "issue", event.cycle, encoded, f"word 0x{word:x}")
        self._issued[event.unit] += 1
        for space in LOGGED:
            if any(write.space is space for write in step.writes):
                self._open[event.unit, space].append(Pending(step, space))
        return None

    def _beyond(self, event: Event, what: str) -> Divergence:
        """Return that a unit goes on where the interpreter had nothing more for it."""
        step = (self._steps[event.unit] or self._journal.steps)[-1]
        return self._reporter.report(step, "issue", event.cycle, f"{NOTHING} more", what)

    def _end(self, event: Event) -> Divergence | None:
        unit, index = event.unit, field(DONE, event.payload, "index")
        number = self.ended[unit]
        if number == self._issued[unit]:
            return self._beyond(event, f"the end of instruction {index}")
        step = self._steps[unit][number]
        if index != step.index or field(DONE, event.payload, "error"):
            failed = "failed" if field(DONE, event.payload, "error") else "ended"
            return self._reporter.report(
                step, "end", event.cycle, "ended", f"instruction {index} {failed}"
            )
        for space in LOGGED:
            queue = self._open[unit, space]
            if queue and queue[0].step is step:
                pending = queue.popleft()
                if space is Space.PLANES:
                    pending.settle(_Bits(self._planes, self._tile))
                if pending.left:
                    return self._mismatch(step, event.cycle, pending.missing())
        self.ended[unit] += 1
        self._entries = 0 if step.instruction.name == "kv.order" else self._entries
        return None

    def _write_of(self, event: Event) -> tuple[Space, tuple[int, ...], int, int]:
        """Return what an event writes: space, place, elements, and a mask of these."""
        payload = event.payload
        if event.kind is Kind.WRITE:
            line = payload & ((1 << LINE_NUMBER_BITS) - 1)
            bits = payload >> LINE_NUMBER_BITS
            mask = bits >> LINE_BITS & ((1 << LINE_ELEMENTS) - 1)
            return Space.SCRATCHPAD, (line,), bits & ((1 << LINE_BITS) - 1), mask
        if event.kind is Kind.STATISTIC:
            return Space.STATISTICS, (event.word,), payload, 1
        if event.kind is Kind.TOKEN:
            return Space.TOKEN, (0,), payload, 1
        if event.kind is Kind.SLOT:
            layer, token = (field(self._slot, payload, one) for one in ("layer", "token"))
            slot = [field(self._slot, payload, one) for one in SLOT_ELEMENTS]
            return Space.SLOTS, (layer, token), _joined(slot), (1 << len(slot)) - 1
        number = self._entries
        if field(self._entry, payload, "end"):
            return Space.ORDER, (number,), 0, 0
        self._entries += 1
        entry = [field(self._entry, payload, one) for one in ENTRY_FIELDS]
        return Space.ORDER, (number,), _joined(entry), (1 << len(entry)) - 1

    def _change(self, event: Event) -> Divergence | None:
        """Take the bits that have changed in the planes as written; first what a run left."""
        before = self._planes if any(self._issued.values()) else event.payload
        changed, self._planes = before ^ event.payload, event.payload
        while changed:
            number = (changed & -changed).bit_length() - 1
            changed &= changed - 1
            plane, row = divmod(number, self._tile)
            bit = event.payload >> number & 1
            found = self._write(event, Space.PLANES, (plane, row), bit, 1)
            if found:
                return found
        return None

    def _write(
        self, event: Event, space: Space, place: tuple[int, ...], bits: int, mask: int
    ) -> Divergence | None:
        """Hold a write to the oldest instruction that has yet to write there."""
        queue = self._open[event.unit, space]
        pending = next((one for one in queue if one.left), None)
        if pending:
            mismatch = pending.take(place, bits, mask)
        else:
            number = max(0, min(self.ended[event.unit], self._issued[event.unit] - 1))
            step = (self._steps[event.unit] or self._journal.steps)[number]
            pending = Pending(step, space)
            mismatch = pending.extra(place, bits, mask)
        return self._mismatch(pending.step, event.cycle, mismatch) if mismatch else None

    def _mismatch(self, step: Step, cycle: int, found: Mismatch) -> Divergence:
        return self._reporter.report(
            step, found.kind, cycle, found.interpreter, found.machine, found.place
        )


class _Bits(dict[tuple[int, ...], int]):
    """The bits of planes by plane and row."""

    def __init__(self, planes: int, tile: int):
        super().__init__()
        self._planes, self._tile = planes, tile

    def __missing__(self, place: tuple[int, ...]) -> int:
        plane, row = place
        return self._planes >> plane * self._tile + row & 1


def _place(index: int, position: int, rows: int) -> str:
    return f"instruction {index} at position {position} of {rows} rows"


def _joined(elements: list[int]) -> int:
    """Return elements as one number."""
    return sum(element << number * OTHER_BITS for number, element in enumerate(elements))
