"""Where the simulated machine and the interpreter first differ, for people and as JSON."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from hwroute.compare import show
from hwroute.isa.disassembly import instruction_text
from hwroute.isa.instruction import Instruction
from hwroute.isa.operands import Operands
from hwroute.models.interpreter.journal import Space, Step
from hwroute.program import Program

NOTHING = "nothing"


@dataclass(frozen=True, kw_only=True)
class Place:
    """An element that was written, or should have been.

    Parameters
    ----------
    space
        `hwroute.models.interpreter.journal.Space`.
    at
        Names and numbers of the place, the element last.
    operand, row, element
        The operand of the instruction, its row and the element of the row; "" and -1 where the
        place is none of the instruction's.
    """

    space: str
    at: dict[str, int]
    operand: str = ""
    row: int = -1
    element: int = -1

    def __str__(self) -> str:
        where = f"{self.space} {', '.join(f'{name} {part}' for name, part in self.at.items())}"
        if not self.operand:
            return where
        return f"{where} ({self.operand}, row {self.row}, element {self.element})"


@dataclass(frozen=True, kw_only=True)
class Divergence:
    """The first difference.

    Parameters
    ----------
    kind
        ``issue`` (another instruction), ``value``, ``place`` (a write that is none of the
        instruction's), ``again`` (a place that was written already), ``extra`` (a write after all
        writes), ``missing``, ``end`` (an instruction that failed or did not end), ``memory``
        (found in the memories after the run).
    cycle
        Of the machine; of ``memory`` -1.
    unit, index, mnemonic, operation, text
        The instruction: where it runs, its number in the program, its name, the operation that it
        is part of ("" for none), its line of the listing.
    position, rows
        The registers of these names.
    place
        What was written, None where the difference is of whole instructions.
    interpreter, machine
        What both say.
    """

    kind: str
    cycle: int
    unit: str
    index: int
    mnemonic: str
    operation: str
    text: str
    position: int
    rows: int
    place: Place | None
    interpreter: str
    machine: str

    def __str__(self) -> str:
        part = f" of {self.operation}" if self.operation else ""
        where = f", {self.place}" if self.place else ""
        when = f"cycle {self.cycle}" if self.cycle >= 0 else "after the run"
        return (
            f"{when}, unit {self.unit}, instruction {self.index}{part} at position "
            f"{self.position}: {self.kind}{where}: interpreter {self.interpreter}, "
            f"machine {self.machine}\n    {self.text}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


class Reporter:
    """Make divergences of a program.

    Parameters
    ----------
    program
        What ran.
    """

    def __init__(self, program: Program):
        self._program = program
        self._operands = Operands(program.memory, program.labels)

    def report(
        self,
        step: Step,
        kind: str,
        cycle: int,
        interpreter: str,
        machine: str,
        place: Place | None = None,
    ) -> Divergence:
        """Return a divergence at an instruction."""
        return Divergence(
            kind=kind,
            cycle=cycle,
            unit=step.unit.name.lower(),
            index=step.index,
            mnemonic=step.instruction.name,
            operation=self._program.operations[step.index],
            text=instruction_text(step.instruction, self._operands).strip(),
            position=step.position,
            rows=step.rows,
            place=place,
            interpreter=interpreter,
            machine=machine,
        )


def decoded(one: Instruction, space: Space, operand: str, value: int, pair: int) -> str:
    """Return an element in hexadecimal and decoded.

    value, pair: the element; two elements that are an FP32, the lower half first.
    """
    if space in (Space.SCRATCHPAD, Space.DDR):
        if space is Space.SCRATCHPAD and _is_fp32(one, operand):
            return show(np.uint32(pair).view(np.float32))
        return show(np.uint16(value))
    if space is Space.STATISTICS:
        if one.name == "scores":
            return f"0x{value:08x} ({int(np.uint32(value).view(np.int32))})"
        return show(np.uint32(value).view(np.float32))
    return show(value)


def _is_fp32(one: Instruction, operand: str) -> bool:
    """Tell whether pairs of elements of an operand are FP32."""
    if operand != "out":
        return False
    return one.name == "values" or (one.name == "matmul" and one.choice("format") == "fp32")
