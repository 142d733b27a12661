"""Instructions and their words."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwroute.isa.fields import WORD_BITS, Kind, Unit
from hwroute.isa.instruction import (
    Instruction,
    ProgramError,
    decode,
    decode_all,
    encode_all,
    fp32_pattern,
    unit_mask,
)
from hwroute.isa.table import BY_CODE, BY_NAME, TABLE


@given(st.data())
def test_a_word_decodes_to_its_instruction(
    instructions: st.SearchStrategy[Instruction], data: st.DataObject
) -> None:
    one = data.draw(instructions)
    word = one.encode()
    assert 0 <= word < 1 << WORD_BITS
    assert decode(word) == one


@given(st.integers(0, (1 << WORD_BITS) - 1))
def test_any_word_is_refused_or_encodes_back(word: int) -> None:
    try:
        one = decode(word)
    except ProgramError:
        return
    assert one.encode() == word


def test_names_codes_and_bits_are_unique() -> None:
    assert len(BY_NAME) == len(BY_CODE) == len(TABLE)
    for opcode in TABLE:
        spans = sorted(
            (opcode.offsets[one.name], opcode.offsets[one.name] + one.bits)
            for one in opcode.all_fields
        )
        assert spans[0][0] == 0
        assert all(a[1] == b[0] for a, b in pairwise(spans))
        assert spans[-1][1] == opcode.used_bits <= WORD_BITS


def test_fields_read_as_what_they_mean() -> None:
    one = Instruction(
        "normalise",
        {
            "lines": 2,
            "wait": unit_mask([Unit.DMA, Unit.ROUTER]),
            "inverse": fp32_pattern(0.25),
        },
    )
    assert one.units("wait") == (Unit.DMA, Unit.ROUTER)
    assert one.number("inverse") == 0.25
    assert Instruction("kv.order", {"entries": 1}).choice("entries") == "all"
    assert one.opcode.by_name["inverse"].kind is Kind.FLOAT32


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("matmull", {}, "mnemonic must be .*, not 'matmull'; did you mean 'matmul'"),
        ("jump", {"targt": 1}, "jump must have a known field, not 'targt'; did you mean 'target'"),
        ("jump", {"target": 1 << 20}, "jump.target must be from 0 to 1048575, not 1048576"),
        ("select", {}, "select.to must be from 1 to 7, not 0"),
        ("add", {"a": 11}, "add.a must be from 0 to 10, not 11"),
        ("decide", {"to": 1, "pitch": 1, "mode": 3}, "decide.mode must be from 0 to 2, not 3"),
        ("halt", {"signal": 1}, "halt.signal must be 0"),
    ],
)
def test_an_illegal_instruction_is_refused(name: str, values: dict[str, int], message: str) -> None:
    with pytest.raises(ProgramError, match=message):
        Instruction(name, values)


def _word(word: int) -> bytes:
    return word.to_bytes(WORD_BITS // 8, "little")


HALT = Instruction("halt", {}).encode()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "program must be a positive multiple of 32 bytes, not 0"),
        (_word(HALT)[:-1], "multiple of 32 bytes, not 31"),
        (_word(HALT) + _word(0xFF), "instruction 1: opcode must be .*, not 0xff"),
        (_word(HALT | 1 << 21), "instruction 0: halt must have zero bits from 21 up, not 0x1"),
        (
            _word(Instruction("jump", {"target": 2}).encode()) + _word(HALT),
            r"instruction 0: jump.target must be below 2 \(the program's length\), not 2",
        ),
        (
            _word(Instruction("sync", {}).encode()),
            "instruction 0: the last must be a halt or a jump, not sync",
        ),
    ],
)
def test_a_malformed_program_is_refused_with_its_index(data: bytes, message: str) -> None:
    with pytest.raises(ProgramError, match=message):
        decode_all(data)


def test_a_program_is_read_back() -> None:
    program = (
        Instruction("set", {"d": 7, "value": 3}),
        Instruction("loop", {"d": 7, "target": 1}),
        Instruction("halt", {}),
    )
    assert decode_all(encode_all(program)) == program
