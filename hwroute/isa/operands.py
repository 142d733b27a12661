"""One field of an instruction as text, and back: what assembler and disassembler share."""

import re
from bisect import bisect_right
from collections.abc import Mapping

import numpy as np

from hwroute.errors import nearest
from hwroute.isa.fields import QUEUED, Field, Kind, Register
from hwroute.isa.instruction import fp32_pattern, unit_mask
from hwroute.memory_map import MemoryMap, Space

SPACE_OF: Mapping[Kind, Space] = {Kind.HBM: Space.HBM, Kind.DDR: Space.DDR}
"""Memories that have regions."""
ADDRESSES = (*SPACE_OF, Kind.SCRATCHPAD, Kind.STATISTIC)
NUMBER = r"0x[0-9a-fA-F]+|[0-9]+"
DECIMAL = r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?"
REGISTERS = {register.name.lower(): int(register) for register in Register}
UNITS = {unit.name.lower(): unit for unit in QUEUED}


class Operands:
    """Fields in the words of a program: its labels and memory regions.

    Parameters
    ----------
    memory
        Regions, which addresses in HBM and DDR are shown by.
    labels
        Name -> index of the instruction.
    """

    def __init__(self, memory: MemoryMap, labels: Mapping[str, int]):
        self._labels = labels
        self._label_at = {index: name for name, index in reversed([*labels.items()])}
        self._regions = {
            space: [one for one in memory.regions if one.content.space is space] for space in Space
        }
        self._starts = {
            space: [region.address for region in regions]
            for space, regions in self._regions.items()
        }
        self._addresses = {
            space: {region.name: region.address for region in regions}
            for space, regions in self._regions.items()
        }

    def write(self, field: Field, value: int) -> str:
        """Return ``name=value``, the bare name of a flag, "" for a field that goes without saying.

        A 0 does, but for targets and for addresses in HBM and DDR, whose names say what is there.
        """
        if not value and not field.least and field.kind not in (*SPACE_OF, Kind.TARGET):
            return ""
        if field.kind is Kind.FLAG:
            return field.name
        return f"{field.name}={self._value(field, value)}"

    def read(self, field: Field, text: str) -> int:
        """Return the number that the text behind ``name=`` stands for.

        Raises
        ------
        ValueError
            There is no such name, or the text is no number; the message says what is expected.
        """
        kind = field.kind
        if kind is Kind.CHOICE:
            return field.choices.index(_known(field, text, list(field.choices)))
        if kind is Kind.REGISTER:
            return REGISTERS[_known(field, text, list(REGISTERS))]
        if kind is Kind.UNITS:
            return unit_mask(UNITS[_known(field, name, list(UNITS))] for name in text.split(","))
        if kind is Kind.PLANE:
            if not re.fullmatch("p[0-9]+", text):
                raise ValueError(f"{field.name} must be a plane such as p1, not {text!r}")
            return int(text[1:])
        if re.fullmatch(NUMBER, text) and (kind is not Kind.FLOAT32 or text.startswith("0x")):
            return int(text, 0)
        if kind is Kind.TARGET:
            return self._labels[_known(field, text, list(self._labels))]
        if kind in SPACE_OF:
            return self._address(field, text)
        if kind is Kind.FLOAT32:
            return _pattern(field, text)
        raise ValueError(f"{field.name} must be a number, not {text!r}")

    def _value(self, field: Field, value: int) -> str:
        kind = field.kind
        if kind is Kind.CHOICE:
            return field.choices[value]
        if kind is Kind.REGISTER:
            return Register(value).name.lower()
        if kind is Kind.UNITS:
            return ",".join(name for name, unit in UNITS.items() if value >> unit & 1)
        if kind is Kind.PLANE:
            return f"p{value}"
        if kind is Kind.TARGET:
            return self._label_at.get(value, str(value))
        if kind is Kind.FLOAT32:
            return _decimal(value)
        if kind in SPACE_OF:
            return self._place(SPACE_OF[kind], value)
        return f"{value:#x}" if kind in ADDRESSES else str(value)

    def _place(self, space: Space, address: int) -> str:
        """Return an address as region and offset, where a region is there."""
        index = bisect_right(self._starts[space], address) - 1
        if index < 0 or address >= self._regions[space][index].end:
            return f"{address:#x}"
        region = self._regions[space][index]
        offset = address - region.address
        return f"{region.name}+{offset:#x}" if offset else region.name

    def _address(self, field: Field, text: str) -> int:
        addresses = self._addresses[SPACE_OF[field.kind]]
        name, plus, offset = text.partition("+")
        start = addresses[_known(field, name, list(addresses))]
        if not plus:
            return start
        if not re.fullmatch(NUMBER, offset):
            raise ValueError(f"{field.name} must have a number behind '+', not {offset!r}")
        return start + int(offset, 0)


def _known(field: Field, text: str, names: list[str]) -> str:
    """Return `text`, which must be one of `names`."""
    if text in names:
        return text
    close = nearest(text, names)
    expected = f"one of {', '.join(names)}" if len(names) <= 8 else f"a known {field.kind.value}"
    raise ValueError(f"{field.name} must be {expected}, not {text!r}{close}")


def _decimal(pattern: int) -> str:
    """Return the shortest decimal of an FP32 pattern; the pattern itself where none gives it."""
    number = np.uint32(pattern).view(np.float32)
    text: str = str(number)
    return text if re.fullmatch(DECIMAL, text) and _bits(text) == pattern else f"{pattern:#010x}"


def _bits(text: str) -> int | None:
    """Return the FP32 pattern nearest to a decimal, None beyond the largest."""
    try:
        return fp32_pattern(float(text))
    except OverflowError:
        return None


def _pattern(field: Field, text: str) -> int:
    bits = _bits(text) if re.fullmatch(DECIMAL, text) else None
    if bits is None:
        raise ValueError(f"{field.name} must be a decimal in FP32's range, not {text!r}")
    return bits
