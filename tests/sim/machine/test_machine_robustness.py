"""A wrong program ends with an error status that names unit and instruction; nothing hangs.

All of them run one after the other in one simulation: the next run begins clean.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hwroute.csr import Error
from hwroute.isa.fields import ADDRESS_BITS, Kind, Unit
from hwroute.isa.instruction import WORD_BYTES, Instruction, encode_all
from hwroute.memory_map import Content
from hwroute.models.image import Image
from hwroute.sim.machine.attempts import Earlier
from hwroute.sim.machine.check import Checked
from hwroute.sim.machine.host import region_of

LAST = {kind: (1 << bits) - 1 for kind, bits in ADDRESS_BITS.items()}
IMPOSSIBLE: list[tuple[str, dict[str, int]]] = [
    ("gather", {"table": LAST[Kind.DDR]}),
    ("load", {"address": LAST[Kind.DDR]}),
    ("load", {"to": LAST[Kind.SCRATCHPAD]}),
    ("gather", {"vocabulary": 1}),
    ("matmul", {"weights": LAST[Kind.HBM]}),
    ("matmul", {"scales": LAST[Kind.DDR]}),
    ("matmul", {"x": LAST[Kind.SCRATCHPAD]}),
    ("scores", {"q": LAST[Kind.SCRATCHPAD]}),
    ("scores", {"out": LAST[Kind.SCRATCHPAD]}),
    ("scores", {"maximum": LAST[Kind.STATISTIC]}),
    ("scores", {"heads": 200}),
    ("values", {"scores": LAST[Kind.SCRATCHPAD]}),
    ("values", {"out": LAST[Kind.SCRATCHPAD]}),
    ("values", {"maximum": LAST[Kind.STATISTIC]}),
    ("reduce", {"x": LAST[Kind.SCRATCHPAD]}),
    ("normalise", {"squares": LAST[Kind.STATISTIC]}),
    ("decide", {"logits": LAST[Kind.STATISTIC]}),
    ("kv.deal", {"layer": 200}),
    ("kv.write", {"lines": 3}),
    ("kv.order", {"layer": 8}),
]
"""Instructions, the first of each name, and fields with which they cannot be done."""
NO_OPCODE = "kv.write"
"""The first of this name is a word of zeros: there the program breaks off."""
NEVER = ("matmul", Unit.ROUTER)
"""The first of this name waits for this unit too, which has nothing to do before it."""


class Copies:
    """Copies of the Program behind the image, each with another word in one place."""

    def __init__(self, short: Any):
        self.short = short
        place = region_of(short.program, Content.PROGRAM)
        self.words = short.image.ddr[place:]
        self.blocks = [short.image.ddr]

    def with_word(self, index: int, word: bytes) -> Earlier:
        """Return a run of a copy in which an instruction is another word."""
        copy = self.words.copy()
        copy.reshape(-1, WORD_BYTES)[index] = np.frombuffer(word, np.uint8)
        begin = sum(len(block) for block in self.blocks)
        self.blocks.append(copy)
        return Earlier(arguments={"program": begin})

    def with_fields(self, name: str, **fields: int) -> Earlier:
        """Return a run of a copy in which the first of a name has other fields."""
        index = self.short.first(name)
        wrong = Instruction(name, {**self.short.at(index).values, **fields})
        return self.with_word(index, encode_all([wrong]))

    @property
    def image(self) -> Image:
        image: Image = self.short.image
        return replace(image, ddr=np.concatenate(self.blocks))


@pytest.fixture(scope="module")
def checked(short: Any, tmp_path_factory: pytest.TempPathFactory) -> Checked:
    """Run all wrong programs, and the right one behind them."""
    copies = Copies(short)
    before = [copies.with_fields(name, **fields) for name, fields in IMPOSSIBLE]
    before.append(copies.with_word(short.first(NO_OPCODE), bytes(WORD_BYTES)))
    before.append(Earlier(arguments={"length": short.first(NO_OPCODE)}))
    name, unit = NEVER
    waits = short.at(short.first(name)).values["wait"] | 1 << unit
    before.append(copies.with_fields(name, wait=waits))
    folder = tmp_path_factory.mktemp("wrong")
    checked: Checked = short.check(folder, image=copies.image, before=before)
    return checked


@pytest.mark.cpp
@pytest.mark.parametrize(
    "number", range(len(IMPOSSIBLE)), ids=[f"{name}-{min(one)}" for name, one in IMPOSSIBLE]
)
def test_an_instruction_that_cannot_be_done_is_named(
    checked: Checked, short: Any, number: int
) -> None:
    index = short.first(IMPOSSIBLE[number][0])
    got = checked.run.earlier[number]
    assert got.finished
    assert (got.error, got.error_index) == (Error.UNIT, index)
    assert got.error_unit == 1 + short.at(index).unit


@pytest.mark.cpp
@pytest.mark.parametrize(("number", "error"), [(-3, Error.OPCODE), (-2, Error.END)])
def test_a_program_that_breaks_off_is_named(
    checked: Checked, short: Any, number: int, error: Error
) -> None:
    got = checked.run.earlier[number]
    assert got.finished
    assert (got.error, got.error_unit, got.error_index) == (error, 0, short.first(NO_OPCODE))


@pytest.mark.cpp
def test_a_token_that_never_comes_is_a_dead_lock(checked: Checked, short: Any) -> None:
    got = checked.run.earlier[-1]
    assert got.finished
    assert got.error is Error.DEADLOCK
    # Of those that wait, in the end for the product, the first unit's is named.
    named = short.at(got.error_index)
    assert got.error_unit == 1 + named.unit
    assert named.values["wait"]
    assert got.counters["array_instructions"] == 0


@pytest.mark.cpp
def test_the_run_behind_all_errors_is_clean(checked: Checked, fresh: Checked) -> None:
    """Text, every write, all memories and all counters are those of a run after a reset."""
    assert checked.match, checked.difference
    assert checked.run.counters == fresh.run.counters
