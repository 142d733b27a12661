"""The assembler: the text of `hwroute.isa.disassembly` becomes a program again."""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from hwroute.config import Config
from hwroute.errors import InputError, nearest
from hwroute.isa.disassembly import FORMAT
from hwroute.isa.fields import Kind
from hwroute.isa.instruction import Instruction, ProgramError
from hwroute.isa.operands import NUMBER, Operands
from hwroute.isa.table import BY_NAME
from hwroute.memory_map import MemoryMap, Region
from hwroute.names import NAME, check_name
from hwroute.plain import from_plain
from hwroute.program import Program

SINGLE: Mapping[str, type[Any]] = {
    "format": int,
    "model": str,
    "policy": str,
    "tile": int,
    "context": int,
}
"""Directives that a listing has once, and the type of their value."""
DIRECTIVES = (*SINGLE, "config", "region")
REGION = ("name", "content", "address", "size", "arrangement")
"""Words behind ``.region``; tensors follow."""


def from_text(text: str, where: str = "text") -> Program:
    """Return the program that a listing describes.

    Parameters
    ----------
    text
        See `hwroute.isa.disassembly`.
    where
        What an error calls the text.

    Raises
    ------
    ProgramError
        What is wrong in which line, with the nearest right name; or what is wrong with the whole.
    """
    listing = _Listing(where)
    for number, line in enumerate(text.splitlines(), 1):
        with _errors_of(f"{where}:{number}"):
            listing.add(number, line.strip())
    return listing.program()


@contextmanager
def _errors_of(place: str, lines: Mapping[str, int] | None = None) -> Iterator[None]:
    """Put the place before an error's message, and the line of the first name in it, by `lines`."""
    try:
        yield
    except (TypeError, ValueError, InputError) as error:
        named = [(lines or {}).get(word) for word in re.findall(NAME, str(error))]
        line = next((f":{number}" for number in named if number), "")
        raise ProgramError(f"{place}{line}: {error}") from error


class _Listing:
    """What has been read so far."""

    def __init__(self, where: str):
        self.where = where
        self.values: dict[str, Any] = {}
        self.config: dict[str, Any] = {}
        self.regions: list[Region] = []
        self.labels: dict[str, int] = {}
        self.code: list[tuple[int, str]] = []
        """Number and text of each line that is an instruction."""
        self.lines: dict[str, int] = {}
        """Numbers of the lines that give a field of the configuration, or a region."""

    def add(self, number: int, line: str) -> None:
        """Take up a line without space around it."""
        label = re.fullmatch(rf"({NAME}):\s*(;.*)?", line)
        if line.startswith("."):
            self._directive(number, line)
        elif label:
            if label[1] in self.labels:
                raise ValueError(f"label {label[1]} must stand in one place, not in two")
            self.labels[label[1]] = len(self.code)
        elif line and not line.startswith(";"):
            self.code.append((number, line))

    def program(self) -> Program:
        """Return the program; its instructions are read now that every label is known."""
        with _errors_of(self.where, self.lines):
            for name in SINGLE:
                if name not in self.values:
                    raise ValueError(f"directive .{name} is missing")
            config = from_plain(Config, self.config, "config")
            memory = MemoryMap(regions=tuple(self.regions), context=self.values["context"])
        operands = Operands(memory, self.labels)
        instructions, operations, notes = [], [], []
        for number, line in self.code:
            with _errors_of(f"{self.where}:{number}"):
                body, _, behind = line.partition(";")
                instructions.append(read_instruction(body, operands))
                operation, note = _comment(behind.strip())
            operations.append(operation)
            notes.append(note)
        with _errors_of(self.where):
            return Program(
                model=self.values["model"],
                policy=self.values["policy"],
                config=config,
                memory=memory,
                tile=self.values["tile"],
                instructions=tuple(instructions),
                labels=self.labels,
                operations=tuple(operations),
                notes=tuple(notes),
            )

    def _directive(self, number: int, line: str) -> None:
        name, _, rest = line[1:].partition(" ")
        if name not in DIRECTIVES:
            close = nearest(name, list(DIRECTIVES))
            raise ValueError(
                f"directive must be one of {', '.join(DIRECTIVES)}, not {name!r}{close}"
            )
        if name == "region":
            self._region(rest.split())
            self.lines[self.regions[-1].name] = number
        elif name == "config":
            key, _, value = rest.partition(" ")
            *tables, last = key.split(".")
            table = self.config
            for part in tables:
                table = table.setdefault(part, {})
                if not isinstance(table, dict):
                    raise ValueError(f"config.{part} must be a table, not {table!r}")
            _put(table, last, _json(f"config {key}", value))
            # Errors of a whole table leave out where it is.
            self.lines |= {key: number, f"config.{key}": number}
        else:
            value = _json(name, rest)
            if type(value) is not SINGLE[name]:
                raise TypeError(f".{name} must be of type {SINGLE[name].__name__}, not {value!r}")
            if name == "format" and value != FORMAT:
                raise ValueError(f".format must be {FORMAT}, not {value!r}")
            _put(self.values, name, value)

    def _region(self, words: list[str]) -> None:
        if len(words) < len(REGION):
            raise ValueError(f".region must have {', '.join(REGION)}, not {' '.join(words)!r}")
        parts: dict[str, Any] = dict(zip(REGION, words, strict=False))
        for key in ("address", "size"):
            if not re.fullmatch(NUMBER, parts[key]):
                raise ValueError(f"{key} must be a number, not {parts[key]!r}")
            parts[key] = int(parts[key], 0)
        self.regions.append(from_plain(Region, {**parts, "tensors": words[len(REGION) :]}))


def _put(table: dict[str, Any], key: str, value: object) -> None:
    if key in table:
        raise ValueError(f"{key} must be given once, not twice")
    table[key] = value


def _json(name: str, text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f".{name} must have a JSON value behind it, not {text!r}") from error


def read_instruction(text: str, operands: Operands) -> Instruction:
    """Return the instruction of a line without comment.

    Raises
    ------
    ProgramError, ValueError
        An unknown mnemonic or field, one given twice, or a value that cannot be.
    """
    mnemonic, *words = text.split()
    known = BY_NAME[mnemonic].by_name if mnemonic in BY_NAME else {}
    values: dict[str, int] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if name not in known:
            return Instruction(mnemonic, {name: 0})
        flag = known[name].kind is Kind.FLAG
        if flag is bool(equals):
            shown = name if flag else f"{name}=value"
            raise ValueError(f"{mnemonic}.{name} must be written {shown}, not {word!r}")
        if name in values:
            raise ValueError(f"{mnemonic}.{name} must be given once, not twice")
        try:
            values[name] = 1 if flag else operands.read(known[name], value)
        except ValueError as error:
            raise ValueError(f"{mnemonic}.{error}") from error
    return Instruction(mnemonic, values)


def _comment(text: str) -> tuple[str, str]:
    """Return operation and note."""
    bracketed = re.fullmatch(r"\[([^\]]*)\]\s*(.*)", text)
    if not bracketed:
        return "", text
    if bracketed[1]:
        check_name("operation", bracketed[1])
    return bracketed[1], bracketed[2]
