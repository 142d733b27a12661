"""Instructions as objects and as words of 256 bits."""

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from hwroute.errors import InputError, nearest
from hwroute.isa.fields import OPCODE, QUEUED, WORD_BITS, Field, Opcode, Unit
from hwroute.isa.table import BY_CODE, BY_NAME

WORD_BYTES = WORD_BITS // 8


class ProgramError(InputError):
    """A word or an instruction that is not legal: its index, the field and the value."""


@dataclass(frozen=True)
class Instruction:
    """One instruction.

    Parameters
    ----------
    name
        Mnemonic.
    values
        Number of each field but ``opcode``; those left out are 0.

    Raises
    ------
    ProgramError
        An unknown mnemonic or field, or a value out of range.
    """

    name: str
    values: Mapping[str, int]

    def __post_init__(self) -> None:
        if self.name not in BY_NAME:
            raise ProgramError(
                f"mnemonic must be one of the table's, not {self.name!r}"
                f"{nearest(self.name, list(BY_NAME))}"
            )
        fields = self.opcode.by_name
        for name in self.values:
            if name not in fields:
                raise ProgramError(
                    f"{self.name} must have a known field, not {name!r}"
                    f"{nearest(name, list(fields))}"
                )
        complete = {name: self.values.get(name, 0) for name in fields}
        for name, field in fields.items():
            _check(self.opcode, field, complete[name])
        if self.unit is Unit.CONTROL and complete["signal"]:
            raise ProgramError(
                f"{self.name}.signal must be 0 (no unit waits for the sequencer), "
                f"not {complete['signal']}"
            )
        object.__setattr__(self, "values", complete)

    @property
    def opcode(self) -> Opcode:
        """Its row of the table."""
        return BY_NAME[self.name]

    @property
    def unit(self) -> Unit:
        """Where it executes."""
        return self.opcode.unit

    def __getitem__(self, name: str) -> int:
        """Return the number in a field."""
        return self.values[name]

    def units(self, name: str) -> tuple[Unit, ...]:
        """Return the units of a UNITS field (``wait`` or ``signal``)."""
        return tuple(unit for unit in QUEUED if self.values[name] >> unit & 1)

    def choice(self, name: str) -> str:
        """Return the name of the value of a CHOICE field."""
        return self.opcode.by_name[name].choices[self.values[name]]

    def number(self, name: str) -> float:
        """Return the number whose FP32 pattern a FLOAT32 field holds."""
        (value,) = struct.unpack("<f", struct.pack("<I", self.values[name]))
        return float(value)

    def encode(self) -> int:
        """Return the instruction's word."""
        word = self.opcode.code
        for name, value in self.values.items():
            word |= value << self.opcode.offsets[name]
        return word


def fp32_pattern(value: float) -> int:
    """Return the FP32 pattern nearest to a number, for a FLOAT32 field."""
    (pattern,) = struct.unpack("<I", struct.pack("<f", value))
    return int(pattern)


def unit_mask(units: Iterable[Unit]) -> int:
    """Return the number of a UNITS field; CONTROL has no bit."""
    mask = 0
    for unit in units:
        mask |= 1 << unit
    return mask


def decode(word: int) -> Instruction:
    """Return the instruction of a word.

    Raises
    ------
    ProgramError
        An unknown opcode, a value out of range, or a bit set that belongs to no field.
    """
    code = word & ((1 << OPCODE.bits) - 1)
    if code not in BY_CODE:
        raise ProgramError(f"opcode must be one of the table's, not 0x{code:02x}")
    opcode = BY_CODE[code]
    if word >> opcode.used_bits:
        raise ProgramError(
            f"{opcode.name} must have zero bits from {opcode.used_bits} up, "
            f"not 0x{word >> opcode.used_bits:x}"
        )
    values = {
        name: word >> opcode.offsets[name] & ((1 << field.bits) - 1)
        for name, field in opcode.by_name.items()
    }
    return Instruction(opcode.name, values)


def encode_all(instructions: Iterable[Instruction]) -> bytes:
    """Return the words of a program, little endian, one after the other."""
    return b"".join(one.encode().to_bytes(WORD_BYTES, "little") for one in instructions)


def decode_all(data: bytes) -> tuple[Instruction, ...]:
    """Return the instructions of a program.

    Raises
    ------
    ProgramError
        A malformed word, a truncated one, or a target outside the program; with its index.
    """
    if not data or len(data) % WORD_BYTES:
        raise ProgramError(
            f"program must be a positive multiple of {WORD_BYTES} bytes, not {len(data)}"
        )
    instructions = []
    for index in range(len(data) // WORD_BYTES):
        word = int.from_bytes(data[index * WORD_BYTES : (index + 1) * WORD_BYTES], "little")
        try:
            instructions.append(decode(word))
        except ProgramError as error:
            raise ProgramError(f"instruction {index}: {error}") from error
    check_targets(instructions)
    return tuple(instructions)


def check_targets(instructions: Iterable[Instruction]) -> None:
    """Raise ProgramError where an instruction goes on outside the program, or past its end."""
    every = list(instructions)
    for index, one in enumerate(every):
        if "target" in one.values and one["target"] >= len(every):
            raise ProgramError(
                f"instruction {index}: {one.name}.target must be below {len(every)} "
                f"(the program's length), not {one['target']}"
            )
    if not every or every[-1].name not in ("halt", "jump"):
        raise ProgramError(
            f"instruction {max(0, len(every) - 1)}: the last must be a halt or a jump, "
            f"not {every[-1].name if every else 'nothing'}"
        )


def _check(opcode: Opcode, field: Field, value: int) -> None:
    if not field.least <= value <= field.largest:
        raise ProgramError(
            f"{opcode.name}.{field.name} must be from {field.least} to {field.largest}, not {value}"
        )
