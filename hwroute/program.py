"""A compiled Program: instructions, the memories that they address, and what a reader is told."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
from numpy.typing import NDArray

from hwroute.config import Config, to_dict
from hwroute.errors import InputError, nearest
from hwroute.isa.instruction import (
    WORD_BYTES,
    Instruction,
    ProgramError,
    check_targets,
    decode_all,
    encode_all,
)
from hwroute.memory_map import Content, MemoryMap, program_lines
from hwroute.names import check_name
from hwroute.plain import from_plain, to_plain
from hwroute.provenance import hash_of
from hwroute.tensor_document import open_document, save_document

FORMAT = "hwroute-program/1"
WORDS = "words"
"""The file's only tensor: uint8 [instructions, 32], each row a word, little endian."""


@dataclass(frozen=True, kw_only=True)
class Program:
    """What the overlay runs. It depends on shapes, policy and configuration, not on weights.

    Parameters
    ----------
    model, policy
        Names, for reports.
    config
        The overlay that it was compiled for.
    memory
        What is where in HBM and DDR.
    tile
        Most tokens of a tile of the prompt.
    instructions
        In order of their index.
    labels
        Name -> index of the instruction.
    operations
        For each instruction the name of the operation that it is part of, "" for none.
    notes
        For each instruction what the listing says beside it, "" for nothing: one line.

    Raises
    ------
    ProgramError
        A target outside the program, or a last instruction that the program could run past.
    ValueError
        Another part that does not fit the rest.
    """

    model: str
    policy: str
    config: Config
    memory: MemoryMap
    tile: int
    instructions: tuple[Instruction, ...]
    labels: Mapping[str, int]
    operations: tuple[str, ...]
    notes: tuple[str, ...]

    def __post_init__(self) -> None:
        check_targets(self.instructions)
        count = len(self.instructions)
        for region in self.memory.regions:
            lines = program_lines(count)
            if region.content is Content.PROGRAM and region.size < lines:
                raise ValueError(
                    f"size of region {region.name} must be at least {lines}, the lines of {count} "
                    f"instructions, not {region.size}"
                )
        if self.tile < 1:
            raise ValueError(f"tile must be positive, not {self.tile!r}")
        for name in ("operations", "notes"):
            length = len(getattr(self, name))
            if length != count:
                raise ValueError(f"{name} must be {count}, one for each instruction, not {length}")
        for name, index in self.labels.items():
            check_name("label", name)
            if not 0 <= index < count:
                raise ValueError(f"label {name} must be from 0 to {count - 1}, not {index!r}")
        for name in {*self.operations} - {""}:
            check_name("operation", name)
        for note in self.notes:
            if note != note.strip() or not note.isprintable():
                raise ValueError(f"note must be one line without space around it, not {note!r}")

    @property
    def words(self) -> bytes:
        """The words of the instructions, little endian, one after the other."""
        return encode_all(self.instructions)

    @cached_property
    def hash(self) -> str:
        """SHA-256 over words, configuration and memory map, in hexadecimal.

        What a program computes is the same where this is; names and notes do not count.
        """
        return hash_of(
            {
                WORDS: hashlib.sha256(self.words).hexdigest(),
                "config": to_dict(self.config),
                "memory": to_plain(self.memory),
            }
        )

    def save(self, path: Path) -> None:
        """Write to `path`; an earlier file stays until the new one is whole.

        Raises
        ------
        InputError
            The path cannot be written.
        """
        parts = {name: to_plain(getattr(self, name)) for name in PARTS}
        # Every field, for a default that changes must not change a program that was saved.
        about = {"format": FORMAT} | parts | {"config": to_dict(self.config)}
        words = np.frombuffer(self.words, np.uint8).reshape(-1, WORD_BYTES)
        save_document(path, about, {WORDS: words}, "program")

    @classmethod
    def load(cls, path: Path) -> "Program":
        """Read a program file.

        Raises
        ------
        InputError
            The file is missing, truncated, not a program, or of an unknown version.
        ProgramError
            A malformed word: its index, the field and the value.
        """
        with open_document(path, FORMAT, "program") as (about, tensor):
            words = tensor(WORDS)
        try:
            return cls(instructions=decode_all(_bytes_of(words)), **_parts(about))
        except ProgramError as error:
            raise ProgramError(f"program {path}: {error}") from error
        except (TypeError, ValueError) as error:
            raise InputError(f"program {path}: {error}") from error


def _parts(about: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parts of a program that the object of its file holds.

    Raises
    ------
    TypeError, ValueError
        A key is missing or unknown, or a value is wrong.
    """
    hints = get_type_hints(Program)
    for name in PARTS:
        if name not in about:
            raise ValueError(f"key {name} is missing")
    for name in about:
        if name not in ("format", *PARTS):
            raise ValueError(f"{name} must be a known key{nearest(name, PARTS)}")
    return {name: from_plain(hints[name], about[name], name) for name in PARTS}


def _bytes_of(words: NDArray[Any]) -> bytes:
    if words.dtype != np.uint8 or words.ndim != 2 or words.shape[1] != WORD_BYTES:
        raise ValueError(
            f"{WORDS} must be uint8 [instructions, {WORD_BYTES}], not {words.dtype} {words.shape}"
        )
    return words.tobytes()


PARTS = [item.name for item in fields(Program) if item.name != "instructions"]
"""Parts of a program that are kept as JSON."""
