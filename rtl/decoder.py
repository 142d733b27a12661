"""The instruction decoder, generated from the table of `hwroute.isa.table`."""

from enum import Enum
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hwroute.isa.fields import OPCODE, QUEUED, WORD_BITS, Field, Opcode, Unit
from hwroute.isa.table import BY_NAME, TABLE
from hwroute.rtl.pipeline import advance, register
from hwroute.timing import DECODER_CYCLES

WORD = data.ArrayLayout(64, WORD_BITS // 64)
"""Shape of an instruction word: 64-bit words, the lowest first."""


class Fault(Enum):
    """Why a word is no instruction. The first that applies, as in `hwroute.isa.instruction`."""

    NONE = 0
    OPCODE = 1
    """No row of the table has this opcode."""
    STRAY = 2
    """A bit is set that belongs to no field."""
    RANGE = 3
    """A field is out of its range, or a control instruction signals."""


DECODED = data.StructLayout({"fault": Fault, "queue": len(QUEUED), "word": WORD})
"""What the decoder says of a word.

Fields: fault; queue (the unit that it goes to, one bit as in ``wait`` and ``signal``; 0 for the
sequencer itself and for a word at fault); the word unchanged, for `fields_of`. The host, which has
the word's index, finds name and value of a field at fault by `hwroute.isa.instruction.decode`.
"""


def instruction_layout(opcode: Opcode) -> data.StructLayout:
    """Return the fields of an opcode's word, from bit 0, as unsigned numbers."""
    return data.StructLayout({field.name: field.bits for field in opcode.all_fields})


def fields_of(word: Any, name: str) -> data.View:
    """Return a word as the fields of the instruction `name`, whether it is one or not."""
    layout = instruction_layout(BY_NAME[name])
    return data.View(layout, Value.cast(word)[: layout.size])


class Decoder(wiring.Component):
    """Check words and say where they go. Latency `DECODER_CYCLES`, one word a cycle.

    Targets are checked against the program's length by the sequencer, which knows it.

    Members
    -------
    i
        Stream of `WORD`.
    o
        Stream of `DECODED`.
    """

    def __init__(self) -> None:
        super().__init__({"i": In(stream.Signature(WORD)), "o": Out(stream.Signature(DECODED))})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        enable, _ = advance(m, self.i, self.o, DECODER_CYCLES)
        decoded = data.View(DECODED, register(m, enable, self._decode(m), "decoded"))
        m.d.comb += self.o.payload.eq(decoded)
        return m

    def _decode(self, m: Module) -> Value:
        """Return what is said of the word at the input."""
        word = Value.cast(self.i.payload)
        said = data.Signal(DECODED)
        m.d.comb += [said.word.eq(self.i.payload), said.fault.eq(Fault.OPCODE)]
        with m.Switch(word[: OPCODE.bits]):
            for opcode in TABLE:
                with m.Case(opcode.code):
                    fault = _fault(word, opcode)
                    queue = 0 if opcode.unit is Unit.CONTROL else 1 << opcode.unit
                    m.d.comb += [
                        said.fault.eq(fault),
                        said.queue.eq(Mux(fault == Fault.NONE.value, queue, 0)),
                    ]
        return Value.cast(said)


def _fault(word: Value, opcode: Opcode) -> Value:
    """Return the fault of a word that has the opcode."""
    fields = fields_of(word, opcode.name)
    wrong = [
        check for field in opcode.by_name.values() for check in _outside(fields[field.name], field)
    ]
    if opcode.unit is Unit.CONTROL:
        wrong.append(fields.signal != 0)
    outside = Mux(Cat(wrong).any(), Fault.RANGE.value, Fault.NONE.value)
    return Mux(word[opcode.used_bits :].any(), Fault.STRAY.value, outside)


def _outside(value: Value, field: Field) -> list[Value]:
    """Return the comparisons that tell that a value is out of range: those that can be true."""
    checks = [value < field.least] if field.least else []
    if field.largest < (1 << field.bits) - 1:
        checks.append(value > field.largest)
    return checks
