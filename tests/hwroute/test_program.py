"""Programs and their files."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from hwroute.errors import InputError
from hwroute.isa.instruction import Instruction, ProgramError
from hwroute.memory_map import Content, MemoryMap, Region, Space
from hwroute.program import FORMAT, WORDS, Program
from hwroute.tensor_document import METADATA, open_document


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(st.data())
def test_a_saved_program_loads_as_it_was(
    programs: st.SearchStrategy[Program], tmp_path: Path, data: st.DataObject
) -> None:
    program = data.draw(programs)
    program.save(tmp_path / "p")
    loaded = Program.load(tmp_path / "p")
    assert loaded == program
    assert loaded.hash == program.hash


def test_two_saves_of_one_program_are_equal_files(small_program: Program, tmp_path: Path) -> None:
    small_program.save(tmp_path / "a")
    small_program.save(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_the_hash_is_of_words_configuration_and_memory(small_program: Program) -> None:
    again = replace(small_program, notes=("",) * 4, labels={}, model="other", operations=("",) * 4)
    assert again.hash == small_program.hash
    shorter = replace(small_program.memory, context=128)
    wider = replace(
        small_program.config, array=replace(small_program.config.array, accumulator_rows=32)
    )
    moved = (Instruction("set", {"d": 8, "value": 3}), *small_program.instructions[1:])
    changed = [
        replace(small_program, memory=shorter),
        replace(small_program, config=wider),
        replace(small_program, instructions=moved),
    ]
    assert len({small_program.hash, *(one.hash for one in changed)}) == 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tile": 0}, "tile must be positive, not 0"),
        ({"notes": ("",)}, "notes must be 4, one for each instruction, not 1"),
        ({"operations": ("",) * 5}, "operations must be 4, one for each instruction, not 5"),
        ({"labels": {"end": 4}}, "label end must be from 0 to 3, not 4"),
        ({"labels": {"a b": 0}}, "label must be a letter or _, .*, not 'a b'"),
        ({"operations": ("4", "", "", "")}, "operation must be a letter or _, .*, not '4'"),
        ({"notes": ("a\nb", "", "", "")}, r"note must be one line .*, not 'a\\nb'"),
        ({"notes": (" a", "", "", "")}, "note must be one line .*, not ' a'"),
    ],
)
def test_a_part_that_does_not_fit_is_refused(
    small_program: Program, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        replace(small_program, **changes)


def test_a_program_that_runs_past_its_end_is_refused(small_program: Program) -> None:
    with pytest.raises(ProgramError, match="instruction 3: the last must be a halt or a jump"):
        replace(
            small_program, instructions=(*small_program.instructions[:3], Instruction("sync", {}))
        )


def test_a_program_that_is_longer_than_its_region_is_refused(small_program: Program) -> None:
    last = small_program.memory.size(Space.DDR)
    room = Region(name="room", content=Content.PROGRAM, address=last, size=1)
    memory = replace(small_program.memory, regions=(*small_program.memory.regions, room))
    # A line is four words.
    assert len(replace(small_program, memory=memory).instructions) == 4
    halt = small_program.instructions[3:]
    longer = {
        "instructions": small_program.instructions + halt,
        "operations": (*small_program.operations, ""),
        "notes": (*small_program.notes, ""),
    }
    with pytest.raises(ValueError, match=r"size of region room must be at least 2, .* not 1"):
        replace(small_program, memory=memory, **longer)


def region(name: str, address: int, size: int = 4) -> Region:
    return Region(name=name, content=Content.IDS, address=address, size=size)


@pytest.mark.parametrize(
    ("regions", "message"),
    [
        (
            (("a", 0), ("b", 3)),
            "region b must begin at 4 or above, behind the last of ddr, not at 3",
        ),
        ((("a", 0), ("a", 4)), "regions must have names of their own, not two a"),
        ((("a+b", 0),), r"name of a region or tensor must be a letter .*, not 'a\+b'"),
        ((("a", -1),), "address of region a must be 0 or more, not -1"),
        ((("a", 0, 0),), "size of region a must be positive, not 0"),
    ],
)
def test_a_memory_map_that_cannot_be_is_refused(regions: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MemoryMap(regions=tuple(region(*one) for one in regions), context=1)
    with pytest.raises(ValueError, match="context must be positive, not 0"):
        MemoryMap(regions=(), context=0)


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 0.999])
def test_a_truncated_file_is_refused(small_program: Program, tmp_path: Path, share: float) -> None:
    small_program.save(tmp_path / "whole")
    whole = (tmp_path / "whole").read_bytes()
    (tmp_path / "part").write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(InputError, match=r"program .*part must be a whole program file"):
        Program.load(tmp_path / "part")


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="none must be a whole program file"):
        Program.load(tmp_path / "none")
    save_file({"weight": np.zeros(4, np.float32)}, tmp_path / "model")
    with pytest.raises(InputError, match=f"model must be of format {FORMAT!r}, not None"):
        Program.load(tmp_path / "model")


def damaged(program: Program, path: Path, about: dict[str, Any], words: Any = None) -> None:
    """Write a program's file with other keys (None takes one away) and words."""
    program.save(path)
    with open_document(path, FORMAT, "program") as (whole, tensor):
        kept = tensor(WORDS) if words is None else words
    parts = {key: value for key, value in (whole | about).items() if value is not None}
    save_file({WORDS: kept}, path, metadata={METADATA: json.dumps(parts)})


@pytest.mark.parametrize(
    ("about", "message"),
    [
        ({"format": "hwroute-program/2"}, f"must be of format {FORMAT!r}, not 'hwroute-program/2'"),
        ({"tile": None}, "key tile is missing"),
        ({"tile": 1.5}, r"tile must be of type int, not 1\.5"),
        ({"labls": {}}, "labls must be a known key; did you mean 'labels'"),
        ({"labels": {"a": "x"}}, "labels.a must be of type int, not 'x'"),
        (
            {"config": {"name": "x", "kv": {"hbm_port": 1}}},
            "config.kv.hbm_port must be a known key",
        ),
        ({"config": {"name": "x", "kv": {"hbm_ports": 3}}}, "kv.hbm_ports must be a power of two"),
        ({"memory": {"context": 1, "regions": [7]}}, r"memory.regions\[0\] must be a table, not 7"),
        ({"notes": [""]}, "notes must be 4, one for each instruction, not 1"),
    ],
)
def test_a_damaged_object_is_refused(
    small_program: Program, tmp_path: Path, about: dict[str, Any], message: str
) -> None:
    damaged(small_program, tmp_path / "p", about)
    with pytest.raises(InputError, match=message):
        Program.load(tmp_path / "p")


def test_a_malformed_word_is_refused_with_index_field_and_value(
    small_program: Program, tmp_path: Path
) -> None:
    words = np.frombuffer(small_program.words, np.uint8).reshape(-1, 32).copy()
    bad = Instruction("set", {}).encode() | 11 << Instruction("set", {}).opcode.offsets["d"]
    words[0] = np.frombuffer(bad.to_bytes(32, "little"), np.uint8)
    damaged(small_program, tmp_path / "p", {}, words)
    message = r"program .*p: instruction 0: set\.d must be from 0 to 10, not 11"
    with pytest.raises(ProgramError, match=message):
        Program.load(tmp_path / "p")
    for shape in ((-1, 64), (-1,)):
        damaged(small_program, tmp_path / "p", {}, words.reshape(shape))
        with pytest.raises(
            InputError, match=r"words must be uint8 \[instructions, 32\], not uint8"
        ):
            Program.load(tmp_path / "p")
