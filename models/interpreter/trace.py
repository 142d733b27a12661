"""The trace of an interpreted Program: a record for every instruction that a unit ran."""

import numpy as np

from hwroute.models.interpreter.run import Interpreter
from hwroute.models.tile import Values
from hwroute.provenance import hash_of
from hwroute.trace import Record, Trace


class ProgramTracer:
    """An observer that keeps a trace.

    A record's operation is that of the instruction, or its mnemonic where it has none; its
    operator is the mnemonic.

    Members
    -------
    trace
        Records of the last run.
    """

    def __init__(self) -> None:
        self.trace = Trace(program="")

    def __call__(self, interpreter: Interpreter, index: int, written: Values) -> None:
        """Append what an instruction wrote."""
        program, image = interpreter.program, interpreter.image
        if not self.trace.program:
            self.trace.program = hash_of({"program": program.hash, "model": image.model})
        one, state = program.instructions[index], interpreter.state
        self.trace.records.append(
            Record(
                id=len(self.trace.records),
                operation=program.operations[index] or one.name,
                operator=one.name,
                position=state.position,
                # Before the first tile there are no rows.
                rows=state.selected(one["plane"]) if state.row_count else np.zeros(0, np.int64),
                outputs=written,
            )
        )
