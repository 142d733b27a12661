"""What an instruction is still to write in one space."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwroute.kv import ORDER_FIELDS, SLOT_FIELDS
from hwroute.models.interpreter.journal import Space, Step, Write
from hwroute.sim.machine.divergence import Place, decoded

ENTRY_FIELDS = ("first", *ORDER_FIELDS[1:])
"""Elements of an entry of an order: as in the journal, but whether a round begins, not its
number."""
PLACES: Mapping[Space, tuple[str, ...]] = {
    Space.SCRATCHPAD: ("line",),
    Space.STATISTICS: ("word",),
    Space.DDR: ("line",),
    Space.HBM: ("port", "beat"),
    Space.PLANES: ("plane", "row"),
    Space.TOKEN: ("register",),
    Space.SLOTS: ("layer", "token"),
    Space.ORDER: ("entry",),
}
"""What the numbers of a place are called."""
ELEMENT_BITS: Mapping[Space, int] = {Space.SCRATCHPAD: 16, Space.DDR: 16, Space.HBM: 8}
OTHER_BITS = 32
NAMES: Mapping[Space, tuple[str, ...]] = {Space.SLOTS: SLOT_FIELDS, Space.ORDER: ENTRY_FIELDS}
"""Elements that have names."""


@dataclass(frozen=True, kw_only=True)
class Mismatch:
    """A difference in one element; the fields of `hwroute.sim.machine.divergence.Divergence`."""

    kind: str
    place: Place
    interpreter: str
    machine: str


@dataclass
class _Expected:
    """One place: its number in the write, its elements, and which are still to be written."""

    write: Write
    number: int
    bits: int
    mask: int
    left: int


class Pending:
    """Places of one instruction in one space.

    Parameters
    ----------
    step
        The instruction.
    space
        Where.

    Members
    -------
    left
        Places that are still to be written, at least in part.
    """

    def __init__(self, step: Step, space: Space):
        self.step = step
        self.space = space
        self._width = ELEMENT_BITS.get(space, OTHER_BITS)
        self._expected: dict[tuple[int, ...], _Expected] = {}
        for write in step.writes:
            if write.space is space:
                self._add(write)
        self.left = len(self._expected)

    def _add(self, write: Write) -> None:
        elements = elements_of(write)
        all_of_them = (1 << elements.shape[1]) - 1
        masks = [all_of_them] * len(elements)
        if write.mask is not None:
            masks = [_number(row, 1) for row in write.mask]
        places = write.places.reshape(len(elements), -1).tolist()
        for number, (place, row, mask) in enumerate(zip(places, elements, masks, strict=True)):
            bits = _number(row, self._width)
            self._expected[tuple(place)] = _Expected(write, number, bits, mask, mask)

    def take(self, place: tuple[int, ...], bits: int, mask: int = 1) -> Mismatch | None:
        """Take a write of the elements of `mask`; return what is wrong with it."""
        if not mask:
            return None
        expected = self._expected.get(place)
        wrong = mask & ~(expected.mask if expected else 0)
        if wrong:
            return self._mismatch("place", place, expected, _lowest(wrong), bits)
        assert expected is not None
        again = mask & ~expected.left
        if again:
            return self._mismatch("again", place, expected, _lowest(again), bits)
        if bits != expected.bits:
            different = _different(bits ^ expected.bits, self._width) & mask
            if different:
                return self._mismatch("value", place, expected, _lowest(different), bits)
        expected.left &= ~mask
        self.left -= not expected.left
        return None

    def settle(self, current: Mapping[tuple[int, ...], int]) -> None:
        """Take places as written where they hold what they should: such a write does not show."""
        for place, expected in self._expected.items():
            if expected.left and current[place] == expected.bits:
                expected.left = 0
                self.left -= 1

    def missing(self) -> Mismatch:
        """Return the first element that is still to be written."""
        place, expected = next((k, one) for k, one in self._expected.items() if one.left)
        return self._mismatch("missing", place, expected, _lowest(expected.left), None)

    def extra(self, place: tuple[int, ...], bits: int, mask: int = 1) -> Mismatch:
        """Return that everything was written before this write."""
        expected = self._expected.get(place)
        return self._mismatch("extra", place, expected, _lowest(mask), bits)

    def _mismatch(
        self,
        kind: str,
        place: tuple[int, ...],
        expected: _Expected | None,
        element: int,
        bits: int | None,
    ) -> Mismatch:
        at = dict(zip(PLACES[self.space], place, strict=True))
        names = NAMES.get(self.space)
        text = "nothing"
        found = Place(space=self.space.value, at=at | self._of_element(element))
        if expected:
            found = self._in_operand(found, expected, element)
            if expected.mask >> element & 1 and kind != "extra":
                text = self._show(expected.write.operand, expected.bits, element)
        operand = found.operand or (self.step.writes[0].operand if self.step.writes else "")
        machine = "nothing" if bits is None else self._show(operand, bits, element)
        if names:
            text, machine = (f"{names[element]} {part}" for part in (text, machine))
        return Mismatch(kind=kind, place=found, interpreter=text, machine=machine)

    def _of_element(self, element: int) -> dict[str, int]:
        return {"element": element} if self.space in ELEMENT_BITS else {}

    def _in_operand(self, place: Place, expected: _Expected, element: int) -> Place:
        """Return a place with the operand's row and the row's element."""
        write = expected.write
        by_row = len(write.places) // len(write.rows)
        row, part = divmod(expected.number, by_row)
        length = elements_of(write).shape[1]
        return Place(
            space=place.space,
            at=place.at,
            operand=write.operand,
            row=int(write.rows[row]),
            element=part * length + element,
        )

    def _show(self, operand: str, bits: int, element: int) -> str:
        width = self._width
        value = bits >> element * width & ((1 << width) - 1)
        pair = bits >> element // 2 * 2 * width & ((1 << 2 * width) - 1)
        return decoded(self.step.instruction, self.space, operand, value, pair & 0xFFFF_FFFF)


def elements_of(write: Write) -> NDArray[Any]:
    """Return the elements [places, n] that a write is of."""
    bits = write.bits.reshape(len(write.places), -1)
    if write.space is not Space.ORDER:
        return bits
    first = np.diff(bits[:, 0], prepend=-1) != 0
    return np.concatenate([first[:, None], bits[:, 1:]], axis=1)


def _number(elements: NDArray[Any], width: int) -> int:
    """Return elements as one number, the first in its lowest `width` bits."""
    if width == 1:
        return int.from_bytes(np.packbits(elements, bitorder="little").tobytes(), "little")
    return int.from_bytes(elements.astype(f"<u{width // 8}").tobytes(), "little")


def _different(difference: int, width: int) -> int:
    """Return a bit for each element in which a difference has one."""
    found, element = 0, 0
    while difference:
        found |= bool(difference & ((1 << width) - 1)) << element
        difference >>= width
        element += 1
    return found


def _lowest(mask: int) -> int:
    """Return the number of the lowest bit that is set, 0 for none."""
    return max(0, (mask & -mask).bit_length() - 1)
