"""A compiled Program: instructions, the memories that they address, and what a reader is told."""

from collections.abc import Mapping
from dataclasses import dataclass

from hwroute.config import Config
from hwroute.isa.instruction import Instruction
from hwroute.memory_map import MemoryMap


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
        For each instruction what the listing says beside it, "" for nothing.
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
