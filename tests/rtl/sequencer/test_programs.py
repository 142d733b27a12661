# amaranth: UnusedElaboratable=no
"""Random legal programs: the order that tokens keep, and what the units are given."""

from collections import Counter
from collections.abc import Iterator
from itertools import combinations
from random import Random
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hwroute.compiler.dependences import synchronise
from hwroute.compiler.draft import Buffer, Draft, Span, Store
from hwroute.config import PRESETS
from hwroute.csr import Error
from hwroute.isa.fields import QUEUED, Kind, Register, Unit
from hwroute.isa.instruction import Instruction, unit_mask
from hwroute.isa.table import BY_NAME
from hwroute.models.interpreter import Interpreter
from hwroute.models.interpreter.state import State
from hwroute.sequencer_config import SequencerConfig

TILE = 16
PLANE = 2
"""The plane that programs decide and branch on."""
FREE = ["t0", "t1", "t2", "position"]
OF_UNITS = ("load", "put", "matmul", "reduce", "argmax", "decide", "select", "kv.order")
OF_CONTROL = ("set", "rows", "add", "sub", "min", "token", "jump", "branch.empty", "branch.zero")
ROUNDS = 3
SEEDS = 5
SMALL = SequencerConfig(prefetch=1, queue=1, in_flight=1, token_bits=4)
ARGUMENTS = {"prompt": 7, "generate": 5, "stop": 0xFFFFFFFF, "tile": TILE}


class Changes:
    """What instructions change by ending: it follows from which it is, and how often it ended."""

    def __init__(self, seed: int):
        self.seed = seed
        self.planes = [[True] * TILE for _ in range(8)]
        self.ended: Counter[int] = Counter()

    def end(self, one: Any, instruction: Instruction) -> int | None:
        random = Random(hash((self.seed, one.index, self.ended[one.index])))
        self.ended[one.index] += 1
        if instruction.unit is Unit.ROUTER:
            chance = random.choice([0, 0.1, 1])
            self.planes[instruction["to"]] = [random.random() < chance for _ in range(TILE)]
        return random.choice([0, 3, 0xFFFFFFFF]) if instruction.name == "argmax" else None


class Oracle(Interpreter):
    """The interpreter's sequencer alone: units do nothing but what `Changes` says."""

    def __init__(self, instructions: list[Instruction], changes: Changes):
        config = PRESETS["demo"]
        nothing: Any = SimpleNamespace(hbm=np.zeros((1, 1, 32)), ddr=np.zeros(1, np.uint16))
        self.instructions = instructions
        self.changes = changes
        self.state = State(config, nothing, TILE)
        self._take_planes()

    def _take_planes(self) -> None:
        for plane, bits in enumerate(self.changes.planes):
            self.state.write_plane(plane, np.array(bits))

    def given(self, arguments: dict[str, int]) -> Iterator[tuple[Unit, tuple[int, int, int, int]]]:
        """Yield unit, index, position, rows and value of each instruction of a unit, in order."""
        registers, index = self.state.registers, 0
        for name in ("prompt", "generate", "stop"):
            registers[Register[name.upper()]] = arguments[name]
        while (one := self.instructions[index]).name != "halt":
            if one.unit is Unit.CONTROL:
                index = self._control(index, one)
                continue
            named = [f.name for f in one.opcode.fields if f.kind is Kind.REGISTER]
            value = registers[one[named[0]]] if named else 0
            yield one.unit, (index, self.state.position, self.state.row_count, value)
            token = self.changes.end(SimpleNamespace(index=index), one)
            if token is not None:
                registers[Register.TOKEN] = token
            self._take_planes()
            index += 1


def random_body(random: Random) -> list[Draft]:
    """Return drafts in pieces; branches go to the end of a later piece."""
    buffers = [Buffer(name=f"b{n}", store=Store.STATE, size=1, address=n) for n in range(5)]
    plane = Buffer(name="plane", store=Store.PLANE, size=1, address=PLANE)
    pieces = random.randint(3, 5)
    drafts: list[Draft] = []
    for piece in range(pieces):
        for _ in range(random.randint(4, 12)):
            if random.random() < 0.75:
                drafts.append(of_unit(random, buffers, plane))
            else:
                drafts.append(of_control(random, f"end{random.randrange(piece, pieces)}"))
        drafts.append(Draft(name="sync", values={}, labels=[f"end{piece}"]))
    drafts.append(Draft(name="sync", values={}, wait=set(QUEUED)))
    synchronise(drafts)
    return drafts


def of_unit(random: Random, buffers: list[Buffer], plane: Buffer) -> Draft:
    name = random.choice(OF_UNITS)
    values: dict[str, dict[str, Any]] = {
        "put": {"value": random.choice(FREE)},
        "load": {"index": random.choice(FREE), "stride": random.randrange(9)},
        "argmax": {"last": 1},
        "decide": {"to": PLANE},
        "select": {"to": PLANE},
    }
    read, *written = random.sample(buffers, random.randint(1, 3))
    if name in ("decide", "select"):
        written.append(plane)
    spans = tuple(Span(one) for one in written)
    return Draft(name=name, values=values.get(name, {}), reads=(Span(read),), writes=spans)


def of_control(random: Random, label: str) -> Draft:
    """Return a control instruction; rows stay in the tile, a token is read when it is there."""
    name = random.choice((*OF_CONTROL, "branch.zero", "branch.equal", "branch.equal"))
    d, a, b = (random.choice(FREE) for _ in range(3))
    other = random.choice([b, "zero", "rows", "stop"])
    number = random.choice([0, 1, 2, 0xFFFFFFFF])
    wait = {"token": {Unit.NPE}, "branch.empty": {Unit.ROUTER}}.get(name, set())
    values: dict[str, dict[str, Any]] = {
        "set": {"d": random.choice([d, "zero"]), "value": number},
        "rows": {"d": "rows", "value": random.randint(1, TILE)},
        "add": {"d": d, "a": a, "b": other},
        "sub": {"d": d, "a": a, "b": other},
        "min": {"d": d, "a": a, "value": number},
        "token": {"d": d, "a": "token", "b": "zero"},
        "jump": {},
        "branch.empty": {"plane": random.choice([0, PLANE, PLANE])},
        "branch.zero": {"a": a},
        "branch.equal": {"a": a, "b": other},
    }
    mnemonic = {"rows": "set", "token": "add"}.get(name, name)
    target = label if "target" in BY_NAME[mnemonic].by_name else ""
    return Draft(name=mnemonic, values=values[name], target=target, wait=set(wait))


def random_program(random: Random) -> list[Draft]:
    """Return a body that runs a few times, and stores all registers after each."""
    registers = [Draft(name="put", values={"value": one.name.lower()}) for one in Register]
    return [
        Draft(name="set", values={"d": "rows", "value": random.randint(1, TILE)}),
        Draft(name="set", values={"d": "t3", "value": ROUNDS}),
        Draft(name="sync", values={}, labels=["top"]),
        *random_body(random),
        *registers,
        Draft(name="sync", values={}, wait={Unit.DMA}),
        Draft(name="loop", values={"d": "t3"}, target="top"),
        Draft(name="halt", values={}),
    ]


def assembled(drafts: list[Draft]) -> list[Instruction]:
    labels = {label: index for index, one in enumerate(drafts) for label in one.labels}
    instructions = []
    for one in drafts:
        values = {name: field.least for name, field in BY_NAME[one.name].by_name.items()}
        for name, value in one.values.items():
            values[name] = Register[value.upper()] if isinstance(value, str) else int(str(value))
        if one.target:
            values["target"] = labels[one.target]
        masks = {"wait": unit_mask(one.wait), "signal": unit_mask(one.signal)}
        instructions.append(Instruction(one.name, values | masks))
    return instructions


def conflict(first: Draft, second: Draft) -> bool:
    one, other = ({span.buffer for span in draft.writes} for draft in (first, second))
    read, late = ({span.buffer for span in draft.reads} for draft in (first, second))
    return bool(one & (other | late) or other & read)


def in_order(drafts: list[Draft], ordered: list[Any]) -> int:
    """Check what must not overlap, given all instructions in order; return how much that was."""
    checked = 0
    for first, second in combinations(ordered, 2):
        if first.unit is not second.unit and conflict(drafts[first.index], drafts[second.index]):
            assert first.end < second.start, (first, second)
            checked += 1
    return checked


@pytest.mark.parametrize("speed", ["quick", "slow"])
@pytest.mark.parametrize("sizes", [SequencerConfig(), SMALL], ids=["usual", "small"])
def test_random_programs_run_in_the_order_of_their_tokens(
    bench: Any, sizes: SequencerConfig, speed: str
) -> None:
    chances = bench.slow if speed == "slow" else bench.chances()
    programs = [random_program(Random(seed)) for seed in range(SEEDS)]
    sequencer = bench(sizes)
    jobs = [
        sequencer.job(
            [one.encode() for one in assembled(drafts)],
            chances=chances,
            seed=seed,
            effects=Changes(seed),
            **ARGUMENTS,
        )
        for seed, drafts in enumerate(programs)
    ]
    checked = 0
    for seed, outcome in enumerate(sequencer.run_all(jobs)):
        assert (outcome.error, outcome.unit, outcome.index) == (Error.NONE, 0, 0)
        by_unit = {unit: iter(outcome.of(unit)) for unit in QUEUED}
        ordered = []
        for unit, given in Oracle(assembled(programs[seed]), Changes(seed)).given(ARGUMENTS):
            ordered.append(next(by_unit[unit]))
            assert ordered[-1].seen == given
        assert not any(list(rest) for rest in by_unit.values())
        assert all(one.end < outcome.ended for one in ordered)
        checked += in_order(programs[seed], ordered)
    assert checked > 100 * SEEDS
