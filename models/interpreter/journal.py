"""The journal of an interpreted Program: every bit that each instruction wrote, and where."""

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwroute.isa.fields import Unit
from hwroute.isa.instruction import Instruction
from hwroute.numerics import Ints

Mask = NDArray[np.bool_]


class Space(Enum):
    """What instructions write, and what a place in it is."""

    SCRATCHPAD = "scratchpad"
    """A line; 64 FP16 patterns."""
    STATISTICS = "statistics"
    """A word of 32 bits."""
    DDR = "ddr"
    """A line; 64 values of 16 bits."""
    HBM = "hbm"
    """Port and beat; 32 bytes."""
    PLANES = "planes"
    """Plane and row of the tile; a bit."""
    TOKEN = "token"
    """0; the register of this name."""
    SLOTS = "slots"
    """Layer and token; `hwroute.kv.SLOT_FIELDS`."""
    ORDER = "order"
    """Number of an entry; `hwroute.kv.ORDER_FIELDS`."""


@dataclass(frozen=True, kw_only=True)
class Write:
    """What an instruction wrote in one space.

    Parameters
    ----------
    space
        Where.
    operand
        The instruction's field that leads there, or what else names it.
    rows
        Of the operand, in order; the places are theirs, as many for each.
    places
        [n] or [n, 2], as `Space` says.
    bits
        [n] or [n, elements].
    mask
        bool [n, elements] where not every element was written; None: all were.
    """

    space: Space
    operand: str
    rows: Ints
    places: Ints
    bits: NDArray[Any]
    mask: Mask | None = None


@dataclass(frozen=True, kw_only=True)
class Step:
    """An instruction that a unit ran.

    Parameters
    ----------
    index
        In its program.
    instruction
        Itself.
    position, rows
        The registers of these names at its issue.
    writes
        What it wrote, in order.
    """

    index: int
    instruction: Instruction
    position: int
    rows: int
    writes: list[Write] = field(default_factory=list)

    @property
    def unit(self) -> Unit:
        """Where it ran."""
        return self.instruction.unit


class Journal:
    """Keep what instructions write; nothing else is kept, so not what the host writes.

    Members
    -------
    steps
        Instructions that a unit ran since the last start of a run.
    """

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self._open: Step | None = None

    def reset(self) -> None:
        """Begin a run."""
        self.steps = []
        self._open = None

    def begin(self, index: int, one: Instruction, position: int, rows: int) -> None:
        """Begin an instruction."""
        self._open = Step(index=index, instruction=one, position=position, rows=rows)
        self.steps.append(self._open)

    def end(self) -> None:
        """End an instruction."""
        self._open = None

    def note(
        self,
        space: Space,
        operand: str,
        rows: Ints,
        places: Ints,
        bits: NDArray[Any],
        mask: Mask | None = None,
    ) -> None:
        """Keep a write of the instruction under way, if there is one."""
        if self._open and len(places):
            self._open.writes.append(
                Write(
                    space=space,
                    operand=operand,
                    rows=rows.copy(),
                    places=places.copy(),
                    bits=bits.copy(),
                    mask=mask,
                )
            )
