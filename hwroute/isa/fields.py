"""What the instruction table is made of: units, registers, fields, opcodes and their bits."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, IntEnum
from functools import cached_property

WORD_BITS = 256
"""Every instruction has this width: half a DDR beat, four 64-bit words."""
LINE_ELEMENTS = 64
"""FP16 elements of a line: the lanes of a column. Scratchpad and DDR are addressed in lines."""
LINE_BYTES = 2 * LINE_ELEMENTS
BEAT_BYTES = 32
"""Bytes of a beat of an HBM port (256 bits): what HBM is addressed in."""


def lines_of(elements: int) -> int:
    """Return the lines that FP16 elements take."""
    return -(-elements // LINE_ELEMENTS)


class Unit(IntEnum):
    """Where instructions execute; the values are bits of ``wait`` and ``signal``.

    Each unit takes its instructions in program order from a queue of its own. The sequencer runs
    control instructions itself and puts the others into their queues.
    """

    CONTROL = -1
    DMA = 0
    ARRAY = 1
    NPE = 2
    ROUTER = 3
    KV = 4


QUEUED: tuple[Unit, ...] = tuple(unit for unit in Unit if unit is not Unit.CONTROL)
"""Units that have a queue."""


class Register(IntEnum):
    """Registers of the sequencer, 32 bits each. Units see those an instruction was issued with."""

    ZERO = 0
    POSITION = 1
    ROWS = 2
    PROMPT = 3
    GENERATE = 4
    STOP = 5
    TOKEN = 6
    T0 = 7
    T1 = 8
    T2 = 9
    T3 = 10


REGISTER_MEANING: Mapping[Register, str] = {
    Register.ZERO: "always 0; writes are lost",
    Register.POSITION: "position in the sequence of the tile's first token",
    Register.ROWS: "tokens of the tile",
    Register.PROMPT: "at the start: tokens of the prompt",
    Register.GENERATE: "at the start: tokens to generate",
    Register.STOP: "at the start: token id that ends the generation, 4294967295 for none",
    Register.TOKEN: "last result of argmax",
    Register.T0: "free",
    Register.T1: "free",
    Register.T2: "free",
    Register.T3: "free",
}


class Kind(Enum):
    """What the number in a field means; assembler, disassembler and checks follow it."""

    UNSIGNED = "unsigned"
    FLAG = "flag"
    CHOICE = "choice"
    REGISTER = "register"
    PLANE = "plane"
    UNITS = "units"
    SCRATCHPAD = "scratchpad line"
    DDR = "DDR line"
    HBM = "HBM beat"
    STATISTIC = "statistics word"
    FLOAT32 = "FP32"
    TARGET = "instruction"


ADDRESS_BITS: Mapping[Kind, int] = {
    Kind.SCRATCHPAD: 16,
    Kind.DDR: 28,
    Kind.HBM: 24,
    Kind.STATISTIC: 12,
}
"""Width of an address in each memory: the largest that `hwroute.memory_config` can size."""


@dataclass(frozen=True, kw_only=True)
class Field:
    """One field of an instruction.

    Parameters
    ----------
    name, bits, kind
        What it is called, how wide it is, what its number means.
    doc
        One phrase for the reference, with the unit.
    choices
        Names of the values of a CHOICE.
    least
        Smallest legal value.
    """

    name: str
    bits: int
    kind: Kind
    doc: str
    choices: tuple[str, ...] = ()
    least: int = 0

    def __post_init__(self) -> None:
        if self.bits < 1:
            raise ValueError(f"Field {self.name} must have at least one bit, not {self.bits!r}")
        if bool(self.choices) != (self.kind is Kind.CHOICE):
            raise ValueError(f"Field {self.name} must have choices if and only if it is a choice")
        if self.largest >= 1 << self.bits:
            raise ValueError(f"Field {self.name} must have bits for {self.largest}")

    @property
    def largest(self) -> int:
        """The largest legal value."""
        if self.kind is Kind.CHOICE:
            return len(self.choices) - 1
        if self.kind is Kind.REGISTER:
            return max(Register)
        return (1 << self.bits) - 1


@dataclass(frozen=True, kw_only=True)
class Opcode:
    """One row of the instruction table.

    Parameters
    ----------
    name, code, unit
        Mnemonic, number, and where it executes.
    fields
        After the common ones, in order of their bits.
    doc
        What it does, for the reference; the first sentence is the summary.
    writes
        Architectural state that it writes: what a trace records of it.
    """

    name: str
    code: int
    unit: Unit
    fields: tuple[Field, ...]
    doc: str
    writes: str = ""

    @cached_property
    def all_fields(self) -> tuple[Field, ...]:
        """Common and own fields, from the lowest bit up."""
        return (*COMMON, *self.fields)

    @cached_property
    def offsets(self) -> Mapping[str, int]:
        """Lowest bit of each field."""
        places, at = {}, 0
        for field in self.all_fields:
            if field.name in places:
                raise ValueError(f"{self.name} must have one field {field.name}, not two")
            places[field.name] = at
            at += field.bits
        if at > WORD_BITS:
            raise ValueError(f"{self.name} must fit {WORD_BITS} bits, not {at}")
        return places

    @property
    def used_bits(self) -> int:
        """Bits up to the end of the last field; those above must be zero."""
        last = self.all_fields[-1]
        return self.offsets[last.name] + last.bits

    @cached_property
    def by_name(self) -> Mapping[str, Field]:
        """Fields by name, without ``opcode``."""
        return {field.name: field for field in self.all_fields if field is not OPCODE}


OPCODE = Field(name="opcode", bits=8, kind=Kind.UNSIGNED, doc="number of the instruction")
WAIT = Field(
    name="wait",
    bits=len(QUEUED),
    kind=Kind.UNITS,
    doc="before it starts: take one token from each of these units; "
    "a control instruction waits until these units have finished all they were given",
)
SIGNAL = Field(
    name="signal",
    bits=len(QUEUED),
    kind=Kind.UNITS,
    doc="when all it writes is written: give one token to each of these units",
)
PLANE = Field(
    name="plane",
    bits=3,
    kind=Kind.PLANE,
    doc="bitmask plane of the tokens it runs for; plane 0 holds every token of the tile. With a "
    "plane that holds none an instruction does nothing, but for kv.deal",
)
COMMON = (OPCODE, WAIT, SIGNAL, PLANE)
"""Fields of every instruction, from bit 0."""
PLANES = 1 << PLANE.bits
