"""The architectural state of the overlay: memories, registers, bitmask planes."""

import numpy as np
from numpy.typing import NDArray

from hwroute.config import Config
from hwroute.errors import InputError
from hwroute.isa.fields import BEAT_BYTES, LINE_ELEMENTS, PLANES, Register
from hwroute.isa.instruction import Instruction
from hwroute.models.image import Image
from hwroute.models.interpreter.cached import Cached
from hwroute.models.interpreter.journal import Journal, Mask, Space
from hwroute.numerics import Bits16, Floats32

Ints = NDArray[np.int64]
ROW_0 = np.zeros(1, np.int64)
"""The only row of an operand that serves every token."""
ALL_BITS = (1 << 32) - 1


class MachineError(InputError):
    """What the overlay reports as an error status: the instruction's index, and what is wrong."""


class State:
    """Memories and registers.

    Parameters
    ----------
    config
        Sizes.
    image
        What HBM and DDR hold at the start; the memories are copies, and a reset restores them.
    tile
        Most tokens of a tile.
    journal
        Keeps what is written.

    Members
    -------
    scratchpad
        FP16 patterns, uint16 [lines, 64]; two FP16 elements are one FP32.
    statistics
        Words, uint32 [n]: FP32, or integers in two's complement.
    hbm, ddr
        uint8 [ports, beats, 32] and uint16 [lines, 64].
    planes
        bool [planes, tile]; plane 0 holds every token of the tile.
    registers
        Values of 32 bits, by `Register`.
    overflowed
        Whether an instruction saturated a value; the run clears it.
    weights, scales
        Beats and DDR lines that the array keeps unpacked.
    """

    def __init__(self, config: Config, image: Image, tile: int, journal: Journal | None = None):
        self.config = config
        self.journal = journal
        self.image = image
        lines = config.memory.scratchpad_bytes // (2 * LINE_ELEMENTS)
        self.scratchpad: Bits16 = np.zeros((lines, LINE_ELEMENTS), np.uint16)
        self.statistics = np.zeros(config.memory.statistics, np.uint32)
        self.hbm = image.hbm.copy()
        self.ddr: Bits16 = image.ddr.copy().view(np.uint16)
        self.planes = np.zeros((PLANES, tile), np.bool_)
        self.registers = [0] * len(Register)
        self.overflowed = False
        self._selected: dict[tuple[int, int], Ints] = {}
        self.weights, self.scales = Cached(), Cached()
        self._written_beats: list[tuple[Ints, Ints]] = []
        self._written_lines: list[Ints] = []

    def reset(self) -> None:
        """Make everything as it was at the start."""
        for ports, beats in self._written_beats:
            self.hbm[ports, beats] = self.image.hbm[ports, beats]
            self.weights.written(beats)
        for lines in self._written_lines:
            self.ddr[lines] = self.image.ddr.view(np.uint16)[lines]
            self.scales.written(lines)
        self._written_beats, self._written_lines = [], []
        for memory in (self.scratchpad, self.statistics, self.planes):
            memory[:] = 0
        self.registers = [0] * len(Register)
        self.overflowed = False
        self._selected.clear()

    def write_beats(self, ports: Ints, beats: Ints, data: NDArray[np.uint8]) -> None:
        """Write beats [..., 32] of HBM."""
        self.hbm[ports, beats] = data
        self._written_beats.append((ports, beats))
        self.weights.written(beats)
        if self.journal:
            places = np.stack([ports.reshape(-1), beats.reshape(-1)], axis=1)
            rows = np.arange(len(ports))
            bits = data.reshape(-1, BEAT_BYTES)
            self.journal.note(Space.HBM, "slot", rows, places, bits)

    def write_lines(self, lines: Ints, data: Bits16) -> None:
        """Write lines [..., 64] of DDR."""
        self.ddr[lines] = data
        self._written_lines.append(lines)
        self.scales.written(lines)
        if self.journal:
            bits = data.reshape(-1, LINE_ELEMENTS)
            rows = np.arange(len(lines))
            self.journal.note(Space.DDR, "address", rows, lines.reshape(-1), bits)

    def write_id(self, line: int, word: int, value: int) -> None:
        """Write 32 bits of a line of DDR."""
        self.ddr.view(np.uint32)[line, word] = value
        self._written_lines.append(np.array([line]))
        if self.journal:
            mask = np.arange(LINE_ELEMENTS)[None] // 2 == word
            places = np.array([line])
            self.journal.note(Space.DDR, "ids", ROW_0, places, self.ddr[places], mask)

    def write_token(self, value: int) -> None:
        """Write the register `token`."""
        self.registers[Register.TOKEN] = value
        if self.journal:
            self.journal.note(Space.TOKEN, "token", ROW_0, ROW_0, np.array([value]))

    @property
    def position(self) -> int:
        """Position of the tile's first token."""
        return self.registers[Register.POSITION]

    @property
    def row_count(self) -> int:
        """Tokens of the tile."""
        return self.registers[Register.ROWS]

    def selected(self, plane: int) -> Ints:
        """Return the tokens of the tile that a plane holds.

        Raises
        ------
        MachineError
            The tile is empty or longer than a plane.
        """
        count = self.row_count
        found = self._selected.get((plane, count))
        if found is None:
            found = self._selected[plane, count] = self._select(plane, count)
        return found

    def _select(self, plane: int, count: int) -> Ints:
        if not 1 <= count <= self.planes.shape[1]:
            raise MachineError(
                f"register rows must be from 1 to {self.planes.shape[1]} (the program's tile), "
                f"not {count}"
            )
        return np.arange(count) if plane == 0 else np.flatnonzero(self.planes[plane, :count])

    def write_plane(self, plane: int, bits: NDArray[np.bool_]) -> None:
        """Write the bits [rows] of a plane."""
        self.planes[plane, : len(bits)] = bits
        self._selected.clear()
        if self.journal:
            rows = np.arange(len(bits))
            places = np.stack([np.full(len(bits), plane), rows], axis=1)
            self.journal.note(Space.PLANES, "to", rows, places, bits)

    def _lines(
        self, one: Instruction, name: str, rows: Ints, lines: int, line: int
    ) -> Ints | slice:
        """Return the scratchpad lines [rows * lines] of an operand; one row is a slice."""
        start = one[name] + line
        pitch = one.values.get(f"{name}_pitch", 0)
        if not len(rows):
            return slice(0, 0)
        # Rows are in ascending order.
        first, last = int(rows[0]), int(rows[-1])
        _check(one, name, "scratchpad line", start + last * pitch + lines - 1, len(self.scratchpad))
        if first == last:
            return slice(start + first * pitch, start + first * pitch + lines)
        places: Ints = start + rows[:, None] * pitch + np.arange(lines)
        return places.reshape(-1)

    def read(self, one: Instruction, name: str, rows: Ints, lines: int, *, line: int = 0) -> Bits16:
        """Return a copy of FP16 rows [rows, lines * 64], from `line` of each row of `name` on."""
        places = self._lines(one, name, rows, lines, line)
        return self.scratchpad[places].reshape(len(rows), lines * LINE_ELEMENTS).copy()

    def write(
        self,
        one: Instruction,
        name: str,
        rows: Ints,
        values: Bits16,
        *,
        line: int = 0,
        offset: int = 0,
    ) -> None:
        """Write FP16 rows [rows, n] from element `offset` on; zeros fill the last line."""
        width = offset + values.shape[1]
        lines = -(-width // LINE_ELEMENTS)
        places = self._lines(one, name, rows, lines, line)
        if width == lines * LINE_ELEMENTS and not offset:
            self.scratchpad[places] = values.reshape(-1, LINE_ELEMENTS)
            self._note_lines(name, rows, places, None)
            return
        whole = np.zeros((len(rows), lines * LINE_ELEMENTS), np.uint16)
        if offset:
            whole[:, :offset] = self.scratchpad[places].reshape(len(rows), -1)[:, :offset]
        whole[:, offset:width] = values
        self.scratchpad[places] = whole.reshape(-1, LINE_ELEMENTS)
        self._note_lines(name, rows, places, np.arange(lines * LINE_ELEMENTS) >= offset)

    def _note_lines(self, name: str, rows: Ints, places: Ints | slice, of_row: Mask | None) -> None:
        """Keep the lines of a write, and which elements of a row it was of, in the journal."""
        if self.journal:
            lines = np.arange(len(self.scratchpad))[places]
            mask = None if of_row is None else np.tile(of_row, len(rows))
            self.journal.note(
                Space.SCRATCHPAD,
                name,
                rows,
                lines,
                self.scratchpad[places],
                None if mask is None else mask.reshape(-1, LINE_ELEMENTS),
            )

    def words(self, one: Instruction, name: str, rows: Ints, values: int = 1) -> Ints:
        """Return the statistics words [rows, values] of operand `name`."""
        places: Ints = one[name] + rows[:, None] + np.arange(values) * one.values.get("pitch", 0)
        if places.size:
            _check(one, name, "statistics word", int(places.max()), len(self.statistics))
        return places

    def read_floats(self, one: Instruction, name: str, rows: Ints, values: int = 1) -> Floats32:
        """Return FP32 statistics [rows, values]."""
        return self.statistics[self.words(one, name, rows, values)].view(np.float32)

    def write_floats(self, one: Instruction, name: str, rows: Ints, values: Floats32) -> None:
        """Write FP32 statistics [rows, values]."""
        self.write_words(one, name, rows, np.ascontiguousarray(values).view(np.uint32))

    def write_words(
        self, one: Instruction, name: str, rows: Ints, values: NDArray[np.uint32]
    ) -> None:
        """Write statistics [rows, values]."""
        places = self.words(one, name, rows, values.shape[1])
        self.statistics[places] = values
        if self.journal:
            self.journal.note(Space.STATISTICS, name, rows, places.reshape(-1), values.reshape(-1))

    def ddr_lines(self, one: Instruction, name: str, places: Ints) -> Ints:
        """Return `places`, lines in DDR that operand `name` leads to, if they are there."""
        if places.size:
            _check(one, name, "DDR line", int(places.max()), len(self.ddr))
        return places

    def port_beats(self, one: Instruction, name: str, start: int, count: int) -> NDArray[np.uint8]:
        """Return `count` rows of beats [ports, count, 32] of all ports."""
        _check(one, name, "HBM beat", start + count - 1, self.hbm.shape[1])
        return self.hbm[:, start : start + count]

    def slot_beats(self, one: Instruction, places: Ints) -> Ints:
        """Return `places`, beats of a port that K and V lead to, if they are there."""
        if places.size:
            _check(one, "slot", "HBM beat", int(places.max()), self.hbm.shape[1])
        return places


def _check(one: Instruction, field: str, what: str, last: int, room: int) -> None:
    if last >= room:
        raise MachineError(f"{one.name}.{field} must lead to a {what} below {room}, not {last}")


def fp32_lines(values: Floats32) -> Bits16:
    """Return FP32 rows [n, m] as pairs of 16 bits [n, 2 m], low half first."""
    return np.ascontiguousarray(values).view(np.uint16)


def lines_fp32(bits: Bits16) -> Floats32:
    """Return pairs of 16 bits [n, 2 m], low half first, as FP32 rows [n, m]."""
    return np.ascontiguousarray(bits).view(np.float32)
