"""Random instructions and programs, which more than one file of tests draws from."""

from dataclasses import replace

import pytest
from hypothesis import strategies as st

from hwroute.config import PRESETS
from hwroute.isa.fields import Unit
from hwroute.isa.instruction import Instruction
from hwroute.isa.table import TABLE
from hwroute.memory_map import Arrangement, Content, MemoryMap, Region, Space
from hwroute.names import NAME
from hwroute.program import Program

NAMES = st.from_regex(NAME, fullmatch=True)
NOTES = st.text(st.characters(min_codepoint=32, max_codepoint=0x2FF), max_size=12)
OPERATIONS = st.sampled_from(["", "embed", "layers.0.ffn.up", "layers.1.attention.q"])


@st.composite
def any_instruction(draw: st.DrawFn) -> Instruction:
    """Draw any legal instruction."""
    opcode = draw(st.sampled_from(TABLE))
    values = {
        name: draw(st.integers(field.least, field.largest))
        for name, field in opcode.by_name.items()
    }
    if opcode.unit is Unit.CONTROL:
        values["signal"] = 0
    return Instruction(opcode.name, values)


@st.composite
def any_memory(draw: st.DrawFn) -> MemoryMap:
    """Draw regions that do not overlap, with and without gaps between them."""
    ends = dict.fromkeys(Space, 0)
    regions = []
    for name in draw(st.lists(NAMES, max_size=4, unique=True)):
        content = draw(st.sampled_from(Content))
        region = Region(
            name=name,
            content=content,
            address=ends[content.space] + draw(st.sampled_from([0, 1, 1000])),
            size=draw(st.integers(1, 1 << 23)),
            tensors=tuple(draw(st.lists(NAMES, max_size=2))),
            arrangement=draw(st.sampled_from(Arrangement)),
        )
        ends[content.space] = region.end
        regions.append(region)
    return MemoryMap(regions=tuple(regions), context=draw(st.integers(1, 4096)))


@st.composite
def any_program(draw: st.DrawFn) -> Program:
    """Draw a program of any instructions, which may never have been compiled."""
    drawn = draw(st.lists(any_instruction(), max_size=5))
    count = len(drawn) + 1
    code = [
        replace(one, values={**one.values, "target": one["target"] % count})
        if "target" in one.values
        else one
        for one in drawn
    ]
    notes = st.lists(NOTES.map(lambda note: "".join(filter(str.isprintable, note)).strip()))
    return Program(
        model=draw(st.text(max_size=8)),
        policy=draw(st.text(max_size=8)),
        config=draw(st.sampled_from(list(PRESETS.values()))),
        memory=draw(any_memory()),
        tile=draw(st.integers(1, 64)),
        instructions=(*code, Instruction("halt", {})),
        labels=draw(st.dictionaries(NAMES, st.integers(0, count - 1), max_size=4)),
        operations=tuple(draw(OPERATIONS) for _ in range(count)),
        notes=tuple([*draw(notes), *[""] * count][:count]),
    )


@pytest.fixture(scope="session")
def instructions() -> st.SearchStrategy[Instruction]:
    return any_instruction()


@pytest.fixture(scope="session")
def programs() -> st.SearchStrategy[Program]:
    return any_program()


@pytest.fixture(scope="session")
def small_program() -> Program:
    """Return a program of three instructions by hand."""
    weight = Region(
        name="head",
        content=Content.MATRIX,
        address=0x40,
        size=512,
        tensors=("lm_head.weight",),
    )
    ids = Region(name="ids", content=Content.IDS, address=0, size=8)
    return Program(
        model="tiny",
        policy="skipgpt",
        config=PRESETS["demo"],
        memory=MemoryMap(regions=(weight, ids), context=256),
        tile=16,
        instructions=(
            Instruction("set", {"d": 7, "value": 3}),
            Instruction("put", {"ids": 2, "value": 6, "plane": 1, "signal": 3}),
            Instruction("loop", {"d": 7, "target": 1, "wait": 1}),
            Instruction("halt", {}),
        ),
        labels={"start": 0, "next": 1},
        operations=("", "layers.0.ffn.down", "", ""),
        notes=("three times", "", "and again", ""),
    )
