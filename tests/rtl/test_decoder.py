# amaranth: UnusedElaboratable=no
"""The decoder against `hwroute.isa.instruction.decode`, over the whole table."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from amaranth.sim import Simulator

from hwroute.isa.fields import WORD_BITS, Field, Opcode, Unit
from hwroute.isa.instruction import Instruction, ProgramError, decode
from hwroute.isa.table import BY_CODE, TABLE
from hwroute.paths import build_dir
from hwroute.rtl.decoder import Decoder, Fault, fields_of
from hwroute.sim.units import UnitSimulation
from hwroute.timing import DECODER_CYCLES


def corners(field: Field) -> list[int]:
    """Return the ends of a field's range, and what is next to them in its bits."""
    least, largest = field.least, field.largest
    values = {0, 1, least - 1, least, least + 1, largest - 1, largest, largest + 1}
    values |= {(1 << field.bits) - 1, 1 << field.bits - 1}
    return sorted(value for value in values if 0 <= value < 1 << field.bits)


def word_of(opcode: Opcode, values: dict[str, int]) -> int:
    """Return a word with these fields, the others at their least, legal or not."""
    word = opcode.code
    for name, field in opcode.by_name.items():
        word |= values.get(name, field.least) << opcode.offsets[name]
    return word


def words_of(opcode: Opcode, rng: np.random.Generator) -> list[int]:
    """Return every field at its corners, all of them at their ends, random ones, stray bits."""
    fields = opcode.by_name
    words = [word_of(opcode, {name: value}) for name in fields for value in corners(fields[name])]
    words.append(word_of(opcode, {name: field.largest for name, field in fields.items()}))
    words.append(word_of(opcode, {name: (1 << field.bits) - 1 for name, field in fields.items()}))
    for _ in range(8):
        drawn = {
            name: int(rng.integers(field.least, field.largest + 1))
            for name, field in fields.items()
        }
        words.append(
            word_of(opcode, drawn | ({"signal": 0} if opcode.unit is Unit.CONTROL else {}))
        )
    stray = {opcode.used_bits, WORD_BITS - 1, int(rng.integers(opcode.used_bits, WORD_BITS))}
    return words + [words[0] | 1 << bit for bit in sorted(stray)] + [words[-1] | 1 << max(stray)]


def every_word() -> list[int]:
    rng = np.random.default_rng(5)
    unknown = [code for code in range(256) if code not in BY_CODE]
    words = [word for opcode in TABLE for word in words_of(opcode, rng)]
    words += unknown + [code | 1 << 255 for code in unknown[:4]]
    rng.shuffle(words)
    return words


def expected(word: int) -> tuple[Fault, Instruction | None]:
    """Return what the software decoder says: the kind of its error, or the instruction."""
    try:
        return Fault.NONE, decode(word)
    except ProgramError as error:
        if "opcode must be" in str(error):
            return Fault.OPCODE, None
        return (Fault.STRAY if "must have zero bits" in str(error) else Fault.RANGE), None


def queue_of(one: Instruction | None) -> int:
    return 0 if one is None or one.unit is Unit.CONTROL else 1 << one.unit


def test_every_opcode_fault_and_field_is_as_in_software() -> None:
    words = every_word()
    decoder: Any = Decoder()
    seen = dict.fromkeys(Fault, 0)

    async def bench(context: Any) -> None:
        context.set(decoder.i.valid, 1)
        context.set(decoder.o.ready, 1)
        for word in words:
            context.set(decoder.i.payload.as_value(), word)
            await context.tick()
            fault, one = expected(word)
            said = decoder.o.payload
            assert context.get(said.fault) == fault.value, f"{word:#x}"
            assert context.get(said.queue) == queue_of(one), f"{word:#x}"
            seen[fault] += 1
            if one is not None:
                fields = fields_of(said.word, one.name)
                assert {name: context.get(fields[name]) for name in one.values} == one.values

    simulator = Simulator(decoder)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert seen[Fault.OPCODE] == 256 - len(TABLE) + 4
    assert seen[Fault.STRAY] >= 3 * len(TABLE)
    assert seen[Fault.RANGE] >= len(TABLE)
    assert seen[Fault.NONE] >= 20 * len(TABLE)


@pytest.mark.cpp
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_words_leave_in_order_one_a_cycle(tmp_path: Path, stall: float) -> None:
    words = every_word()
    octets = b"".join(word.to_bytes(WORD_BITS // 8, "little") for word in words)
    parts = np.frombuffer(octets, "<u8").reshape(-1, WORD_BITS // 64)
    simulation = UnitSimulation(Decoder(), folder=build_dir())
    run = simulation.run({"i": parts}, {"o": len(words)}, folder=tmp_path, stall=stall, seed=9)
    answers = [expected(word) for word in words]
    assert np.array_equal(run.outputs["o"]["word"], parts)
    assert np.array_equal(run.outputs["o"]["fault"], [fault.value for fault, _ in answers])
    assert np.array_equal(run.outputs["o"]["queue"], [queue_of(one) for _, one in answers])
    if not stall:
        assert np.array_equal(run.out_cycles["o"], run.in_cycles["i"] + DECODER_CYCLES)
        assert np.all(np.diff(run.in_cycles["i"]) == 1)
