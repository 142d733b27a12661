"""DMA: between DDR and scratchpad."""

import numpy as np

from hwroute.isa.fields import LINE_BYTES, LINE_ELEMENTS
from hwroute.isa.instruction import Instruction
from hwroute.models.interpreter.state import ALL_BITS, Ints, MachineError, State
from hwroute.models.tile import Values

IDS_A_LINE = LINE_BYTES // 4
"""Token ids of 32 bits in a line of DDR."""


class DMA:
    """The unit that moves data.

    Parameters
    ----------
    state
        What it works on.
    """

    def __init__(self, state: State):
        self.state = state

    def _indexed(self, one: Instruction, rows: Ints) -> Ints:
        """Return the DDR lines [rows, lines] of a load or store."""
        index = self.state.registers[one["index"]] + (rows if one["per_row"] else 0 * rows)
        places = one["address"] + one["stride"] * index[:, None] + np.arange(one["lines"])
        return self.state.ddr_lines(one, "address", places)

    def _moved_rows(self, one: Instruction) -> Ints:
        """Return the rows that move: those of the plane, or one for all."""
        rows = self.state.selected(one["plane"])
        return rows if one["per_row"] else np.zeros(1, np.int64)

    def load(self, one: Instruction) -> Values:
        """DDR to scratchpad."""
        rows = self._moved_rows(one)
        lines = self.state.ddr[self._indexed(one, rows)]
        values = lines.reshape(len(rows), one["lines"] * LINE_ELEMENTS)
        self.state.write(one, "to", rows, values)
        return {"to": values}

    def store(self, one: Instruction) -> Values:
        """Scratchpad to DDR."""
        rows = self._moved_rows(one)
        values = self.state.read(one, "from", rows, one["lines"])
        places = self._indexed(one, rows)
        self.state.write_lines(places, values.reshape(*places.shape, LINE_ELEMENTS))
        return {"address": values}

    def _id_place(self, one: Instruction, rows: Ints) -> tuple[Ints, Ints]:
        line, word = np.divmod(self.state.position + rows, IDS_A_LINE)
        return self.state.ddr_lines(one, "ids", one["ids"] + line), word

    def gather(self, one: Instruction) -> Values:
        """Rows of a table by token id."""
        state = self.state
        rows = state.selected(one["plane"])
        line, word = self._id_place(one, rows)
        ids = state.ddr.view(np.uint32)[line, word].astype(np.int64)
        if (ids >= one["vocabulary"]).any():
            raise MachineError(
                f"gather.ids must lead to token ids below {one['vocabulary']}, not {ids.max()}"
            )
        places = one["table"] + ids[:, None] * one["lines"] + np.arange(one["lines"])
        lines = state.ddr[state.ddr_lines(one, "table", places)]
        values = lines.reshape(len(rows), one["lines"] * LINE_ELEMENTS)
        state.write(one, "to", rows, values)
        return {"to": values}

    def put(self, one: Instruction) -> Values:
        """Write a register as the token id at the position."""
        value = self.state.registers[one["value"]] & ALL_BITS
        line, word = self._id_place(one, np.zeros(1, np.int64))
        self.state.write_id(int(line[0]), int(word[0]), value)
        return {"ids": np.array([value], np.int64)}


def read_ids(state: State, line: int, count: int) -> list[int]:
    """Return the first `count` token ids of a region of ids."""
    words = state.ddr.view(np.uint32)[line:].reshape(-1)
    return [int(value) for value in words[:count]]


def write_ids(state: State, line: int, ids: list[int]) -> None:
    """Write token ids from the start of a region of ids on, as the host does."""
    for index, value in enumerate(ids):
        state.write_id(line + index // IDS_A_LINE, index % IDS_A_LINE, value)
