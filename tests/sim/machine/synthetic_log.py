"""Logs of a machine that does what a journal says, in any order that it may do it in."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from hwroute.compiler import compile_program
from hwroute.config import PRESETS
from hwroute.isa.fields import QUEUED, Unit
from hwroute.models.image import build_image
from hwroute.models.interpreter import Interpreter, Journal
from hwroute.models.interpreter.journal import Space, Step, Write
from hwroute.models.library import named_policy
from hwroute.models.random_weights import RandomCheckpoint
from hwroute.program import Program
from hwroute.rtl.issue_layouts import DONE, ISSUED
from hwroute.rtl.kv_layouts import order_layout, slot_layout
from hwroute.rtl.scratchpad_layouts import WRITE
from hwroute.shape import ModelShape
from hwroute.sim.machine.log import UNIT_OF, Event, Kind

SHAPE = ModelShape(
    dim=256, layers=3, heads=4, kv_heads=2, head_dim=32, ffn_dim=128, vocab=150, context=64
)
PROMPT = [5, 9, 59, 0, 33, 33, 8, 77, 91, 2]
CONFIG = PRESETS["demo"]
TILE = CONFIG.array.accumulator_rows
ALL_OF_LINE = (1 << 64) - 1
END = 1
"""Of an order: its lowest bit alone."""


@cache
def ran() -> tuple[Program, Journal]:
    checkpoint = RandomCheckpoint(SHAPE, named_policy("skipgpt"), seed=7)
    program = compile_program(SHAPE, checkpoint.policy, CONFIG, model="random")
    journal = Journal()
    Interpreter(program, build_image(program, checkpoint), journal=journal).generate(PROMPT, 2)
    return program, journal


@dataclass(frozen=True)
class Said:
    """An event of the log and the instruction that it is of."""

    event: Event
    step: Step


def bits_of(layout: Any, values: dict[str, Any]) -> int:
    return int(layout.const(values).as_bits())


def write(line: int, elements: list[int], mask: int) -> int:
    return bits_of(WRITE, {"line": line, "data": elements, "mask": mask})


class Machine:
    """Makes the log of a machine that does what a journal says, in its own time and order.

    planes: what a run before has left in them.
    """

    def __init__(self, seed: int, planes: int = 0):
        self.random = Random(seed)
        self.planes = planes

    def run(self, journal: Journal) -> list[Said]:
        """Return what is said in order, the units side by side."""
        left = {unit: [one for one in journal.steps if one.unit is unit] for unit in QUEUED}
        streams = {unit: self.unit(unit, steps) for unit, steps in left.items()}
        cycle, busy = 100, set[Unit]()
        said = []
        while streams:
            unit = self.random.choice(list(streams))
            found = next(streams[unit], None)
            if found is None:
                del streams[unit]
                continue
            # Sometimes several units in a cycle, never a unit twice.
            if unit in busy or self.random.random() < 0.5:
                cycle, busy = cycle + self.random.randint(1, 3), set()
            busy.add(unit)
            said.append(replace(found, event=replace(found.event, cycle=cycle)))
        return said

    def unit(self, unit: Unit, steps: list[Step]) -> Iterator[Said]:
        """Yield what a unit does; some take an instruction before the last one has ended."""
        ahead = unit in (Unit.NPE, Unit.DMA)
        for number, step in enumerate(steps):
            following = steps[number + 1 : number + 2]
            if not (ahead and number):
                yield self.issue(step)
            yield from self.writes(step)
            if ahead:
                yield from map(self.issue, following)
            done = bits_of(DONE, {"error": 0, "index": step.index})
            yield self.say(step, Kind.DONE, done)

    def say(self, step: Step, kind: Kind, payload: int, word: int = 0) -> Said:
        event = Event(kind=kind, unit=step.unit, cycle=0, payload=payload, word=word)
        return Said(event, step)

    def issue(self, step: Step) -> Said:
        word = step.instruction.encode()
        fields = {
            "word": [word >> 64 * part & ((1 << 64) - 1) for part in range(4)],
            "index": step.index,
            "position": step.position,
            "rows": step.rows,
            "value": 0,
        }
        return self.say(step, Kind.ISSUE, bits_of(ISSUED, fields))

    def writes(self, step: Step) -> Iterator[Said]:
        for one in step.writes:
            makers: dict[Space, Callable[[Write], list[tuple[Kind, int, int]]]] = {
                Space.SCRATCHPAD: self.lines,
                Space.STATISTICS: self.words,
                Space.TOKEN: lambda one: [(Kind.TOKEN, int(one.bits[0]), 0)],
                Space.SLOTS: self.slots,
                Space.ORDER: self.entries,
            }
            if one.space in makers:
                for kind, payload, word in makers[one.space](one):
                    yield self.say(step, kind, payload, word)
            if one.space is Space.PLANES:
                yield from self.bits(step, one)
        if step.instruction.name == "kv.order":
            end = bits_of(order_layout(CONFIG.kv), {"end": 1})
            yield self.say(step, Kind.ENTRY, end)

    def lines(self, one: Write) -> list[tuple[Kind, int, int]]:
        """Lines in any order, some in two parts; what is masked has any value."""
        made = []
        for number, line in enumerate(one.places.tolist()):
            elements = [int(value) for value in one.bits[number]]
            mask = ALL_OF_LINE
            if one.mask is not None:
                mask = sum(int(bit) << lane for lane, bit in enumerate(one.mask[number]))
            part = self.random.choice([mask, 0xFFFF_0000_0000_FFFF])
            for some in {mask & part, mask & ~part} - {0}:
                shown = [
                    value if some >> lane & 1 else self.random.getrandbits(16)
                    for lane, value in enumerate(elements)
                ]
                made.append((Kind.WRITE, write(line, shown, some), 0))
        self.random.shuffle(made)
        return made

    def words(self, one: Write) -> list[tuple[Kind, int, int]]:
        pairs = zip(one.places.tolist(), one.bits.tolist(), strict=True)
        return [(Kind.STATISTIC, value, word) for word, value in pairs]

    def slots(self, one: Write) -> list[tuple[Kind, int, int]]:
        layout = slot_layout(CONFIG.kv)
        names = ("layer", "token", "port", "slot")
        rows = np.concatenate([one.places, one.bits], axis=1).tolist()
        return [(Kind.SLOT, bits_of(layout, dict(zip(names, row, strict=True))), 0) for row in rows]

    def entries(self, one: Write) -> list[tuple[Kind, int, int]]:
        names = ("token", "hit", "source_layer", "port", "slot", "keep", "bank", "place")
        made, before = [], -1
        for number, *rest in one.bits.tolist():
            fields = {"first": int(number != before), **dict(zip(names, rest, strict=True))}
            made.append((Kind.ENTRY, bits_of(order_layout(CONFIG.kv), fields), 0))
            before = number
        return made

    def bits(self, step: Step, one: Write) -> Iterator[Said]:
        """Only changes are seen."""
        for (plane, row), bit in zip(one.places.tolist(), one.bits.tolist(), strict=True):
            place = plane * TILE + row
            changed = self.planes & ~(1 << place) | int(bit) << place
            if changed != self.planes:
                self.planes = changed
                yield self.say(step, Kind.PLANES, changed)


def save(said: list[Said], path: Path) -> Path:
    lines = []
    for one in said:
        event = one.event
        name = [] if event.kind in UNIT_OF else [event.unit.name.lower()]
        word = [f"{event.word:x}"] if event.kind is Kind.STATISTIC else []
        parts = [event.kind.value, *name, str(event.cycle), *word, f"{event.payload:x}"]
        lines.append(" ".join(parts) + "\n")
    path.write_text("".join(lines))
    return path


@cache
def clean(seed: int = 1) -> tuple[Said, ...]:
    return tuple(Machine(seed).run(ran()[1]))
