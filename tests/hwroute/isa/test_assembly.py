"""Listings of programs, and programs from listings."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwroute.isa.assembly import from_text, read_instruction
from hwroute.isa.disassembly import instruction_text, to_text
from hwroute.isa.fields import Kind
from hwroute.isa.instruction import Instruction, ProgramError, fp32_pattern
from hwroute.isa.operands import Operands
from hwroute.memory_map import MemoryMap
from hwroute.program import Program

NOTHING = Operands(MemoryMap(regions=(), context=1), {})

CODE = """\
start:
    set          d=t0 value=3 ; three times

; layers.0.ffn
next:
    put          ids=ids+0x2 value=token plane=p1 signal=dma,array ; [layers.0.ffn.down]
    loop         target=next d=t0 wait=dma                         ; and again
    halt
"""


@given(st.data())
def test_a_listing_becomes_its_program_again(
    programs: st.SearchStrategy[Program], data: st.DataObject
) -> None:
    program = data.draw(programs)
    again = from_text(to_text(program))
    assert again == program
    assert to_text(again) == to_text(program)


@given(st.data())
def test_an_instruction_is_written_and_read_back(
    instructions: st.SearchStrategy[Instruction], data: st.DataObject
) -> None:
    one = data.draw(instructions)
    assert read_instruction(instruction_text(one, NOTHING), NOTHING) == one


def test_a_listing_reads_well(small_program: Program) -> None:
    text = to_text(small_program)
    directives, _, code = text.partition("\n\n")
    assert code == CODE
    assert directives.splitlines()[:7] == [
        ".format 1",
        '.model "tiny"',
        '.policy "skipgpt"',
        ".tile 16",
        ".context 256",
        '.config name "demo"',
        '.config numerics.variant "aligned"',
    ]
    assert directives.splitlines()[-2:] == [
        ".region head matrix         0x40      512 plain lm_head.weight",
        ".region ids  ids             0x0        8 plain",
    ]


@pytest.mark.parametrize("index", range(4))
def test_comments_and_space_do_not_matter(small_program: Program, index: int) -> None:
    lines = to_text(small_program).splitlines()
    place = lines.index("start:") + index
    spaced = "\n\n  ; said in passing\n".join(["\n".join(lines[:place]), "\n".join(lines[place:])])
    assert from_text(spaced.replace("start:", "  start:  ; where it begins")) == small_program


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1e-5, "1e-05"),
        (1 / 3, "0.33333334"),
        (-0.0, "-0.0"),
        (1.0, "1.0"),
        (float("inf"), "0x7f800000"),
        (float("nan"), "0x7fc00000"),
    ],
)
def test_an_fp32_is_the_shortest_decimal_that_gives_it(value: float, text: str) -> None:
    one = Instruction("normalise", {"lines": 1, "epsilon": fp32_pattern(value)})
    assert f"epsilon={text}" in instruction_text(one, NOTHING).split()
    assert read_instruction(instruction_text(one, NOTHING), NOTHING) == one


@given(st.integers(0, (1 << 32) - 1))
def test_every_fp32_pattern_survives(pattern: int) -> None:
    one = Instruction("normalise", {"lines": 1, "inverse": pattern})
    assert one.opcode.by_name["inverse"].kind is Kind.FLOAT32
    assert read_instruction(instruction_text(one, NOTHING), NOTHING) == one


def test_an_address_outside_every_region_is_a_number(small_program: Program) -> None:
    operands = Operands(small_program.memory, {})
    for address, shown in ((0x3F, "0x3f"), (0x40, "head"), (0x23F, "head+0x1ff"), (0x240, "0x240")):
        one = Instruction("kv.map", {"base": address, "vector": 1, "exponents": 1})
        text = instruction_text(one, operands)
        assert f"base={shown}" in text.split()
        assert read_instruction(text, operands) == one


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (".format 1", "", "p.s: directive .format is missing"),
        (".format 1", ".format 2", "p.s:@: .format must be 1, not 2"),
        (".tile 16", '.tile "16"', "p.s:@: .tile must be of type int, not '16'"),
        (".tile 16", ".tile", "p.s:@: .tile must have a JSON value behind it, not ''"),
        (".tile 16", ".tile 16\n.tile 16", "p.s:5: tile must be given once, not twice"),
        (".tile 16", ".tile 0", "p.s: tile must be positive, not 0"),
        (
            ".model",
            ".modle",
            "p.s:@: directive must be one of .*, not 'modle'; did you mean 'model'",
        ),
        (
            "kv.hbm_ports",
            "kv.hbm_port",
            "p.s:@: config.kv.hbm_port must be .*did you mean 'hbm_ports'",
        ),
        (
            "kv.hbm_ports 4",
            "kv.hbm_ports 3",
            "p.s:@: config.kv: kv.hbm_ports must be a power of two",
        ),
        ("kv.hbm_ports 4", "kv.hbm_ports four", "p.s:@: .config kv.hbm_ports must have a JSON"),
        ("kv.hbm_ports", "name.hbm_ports", "p.s:@: config.name must be a table, not 'demo'"),
        (
            "ids  ids",
            "ids  idz",
            "p.s:@: content must be one of .*, not 'idz'; did you mean 'ids'",
        ),
        ("     512", "     all", "p.s:@: size must be a number, not 'all'"),
        ("        8 plain", "", "p.s:@: .region must have .*, not 'ids ids 0x0'"),
        (
            "ids  ids             0x0 ",
            "ids  kv 0x50 ",
            "p.s:@: region ids must begin at 576 or above",
        ),
        ("next:", "start:", "p.s:@: label start must stand in one place, not in two"),
        ("loop ", "lop ", "p.s:@: mnemonic must be .*, not 'lop'; did you mean 'loop'"),
        ("target=next", "targt=next", "p.s:@: loop must have a known field, not 'targt'"),
        (
            "target=next",
            "target=nxt",
            "p.s:@: loop.target must be .*, not 'nxt'; did you mean 'next'",
        ),
        ("target=next", "target=9", r"p.s: instruction 2: loop.target must be below 4 .*, not 9"),
        (
            "d=t0 wait",
            "d=t00 wait",
            "p.s:@: loop.d must be a known register, not 't00'; did you mean",
        ),
        ("d=t0 wait", "d=t0 d=t0 wait", "p.s:@: loop.d must be given once, not twice"),
        (
            "value=3",
            "value=0x100000000",
            "p.s:@: set.value must be from 0 to 4294967295, not 42949672",
        ),
        ("value=3", "value=three", "p.s:@: set.value must be a number, not 'three'"),
        ("value=3", "value", "p.s:@: set.value must be written value=value, not 'value'"),
        ("plane=p1", "plane=1", "p.s:@: put.plane must be a plane such as p1, not '1'"),
        ("plane=p1", "plane=p8", "p.s:@: put.plane must be from 0 to 7, not 8"),
        ("signal=dma,array", "signal=dma,aray", "p.s:@: put.signal must be one of .*mean 'array'"),
        ("signal=dma,array", "first=1", "p.s:@: put must have a known field, not 'first'"),
        (
            "ids=ids+0x2",
            "ids=idz+0x2",
            "p.s:@: put.ids must be one of ids, not 'idz'; did you mean",
        ),
        (
            "ids=ids+0x2",
            "ids=ids+two",
            "p.s:@: put.ids must have a number behind '\\+', not 'two'",
        ),
        (
            "[layers.0.ffn.down]",
            "[layers 0]",
            "p.s:@: operation must be a letter .*, not 'layers 0'",
        ),
        ("    halt", "    sync", "p.s: instruction 3: the last must be a halt or a jump, not sync"),
        ("    halt", "    halt signal=dma", "p.s:@: halt.signal must be 0"),
    ],
)
def test_an_error_names_line_and_what_is_right(
    small_program: Program, old: str, new: str, message: str
) -> None:
    text = to_text(small_program)
    line = text[: text.index(old)].count("\n") + 1
    with pytest.raises(ProgramError, match=f"^{message.replace('@', str(line))}"):
        from_text(text.replace(old, new, 1), "p.s")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kv.deal rule=evit", "kv.deal.rule must be one of reuse, evict, not 'evit'; did you mean"),
        ("reduce lines=1 pitch=1 routed=1", "reduce.routed must be written routed, not 'routed=1'"),
        ("normalise lines=1 epsilon=1e39", "normalise.epsilon must be a decimal in FP32's range"),
        ("normalise lines=1 epsilon=tiny", "normalise.epsilon must be a decimal in FP32's range"),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_instruction(text, NOTHING)


def test_an_error_is_of_its_line(small_program: Program) -> None:
    lines = to_text(small_program).splitlines()
    number = lines.index("next:") + 2
    lines[number - 1] = "    put ids=5 ; [layers.0.ffn.down] no value"
    assert from_text("\n".join(lines)).notes[1] == "no value"
    lines[number - 1] = "    putt ids=5"
    with pytest.raises(ProgramError, match=f"text:{number}: mnemonic must be one of the table's"):
        from_text("\n".join(lines))
