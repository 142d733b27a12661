"""The trees choose what a search in order does, and write no signal without bits."""

from itertools import product
from typing import Any

import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator

from hwroute.rtl.emit import emit
from hwroute.rtl.select import least, lowest_set


class Select(wiring.Component):
    """Choose among `width` candidates with keys of `key_bits`, or the lowest where it is 0."""

    def __init__(self, width: int, key_bits: int):
        self.width, self.key_bits = width, key_bits
        super().__init__(
            {
                "able": In(width),
                "keys": In(max(1, width * key_bits)),
                "any": Out(1),
                "number": Out(max(1, (width - 1).bit_length())),
                "key": Out(max(1, key_bits)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        able, bits = Signal(self.width), self.key_bits
        m.d.comb += able.eq(self.able)
        if bits:
            keys = [self.keys[bits * index : bits * (index + 1)] for index in range(self.width)]
            choice = least(m, able, keys, "least")
        else:
            choice = lowest_set(m, able, "lowest")
        m.d.comb += [
            self.any.eq(choice.any),
            self.number.eq(choice.number),
            self.key.eq(choice.key),
        ]
        return m


def answers(width: int, key_bits: int, cases: list[tuple[int, tuple[int, ...]]]) -> list[Any]:
    """Return (number, key) for each pair of mask and keys, None where there is no choice."""
    unit: Any = Select(width, key_bits)
    found: list[Any] = []

    async def drive(context: Any) -> None:
        for mask, keys in cases:
            context.set(unit.able, mask)
            context.set(unit.keys, sum(key << key_bits * i for i, key in enumerate(keys)))
            await context.delay(1e-9)
            chosen = (context.get(unit.number), context.get(unit.key))
            found.append(chosen if context.get(unit.any) else None)

    simulator = Simulator(unit)
    simulator.add_testbench(drive)
    simulator.run()
    return found


@pytest.mark.parametrize("width", [1, 2, 3, 5, 6, 8])
def test_the_lowest_set_bit_is_chosen(width: int) -> None:
    cases = [(mask, (0,) * width) for mask in range(1 << width)]
    expected = [((mask & -mask).bit_length() - 1, 0) if mask else None for mask, _ in cases]
    assert answers(width, 0, cases) == expected


@pytest.mark.parametrize("width", [1, 3, 4])
def test_the_least_key_is_chosen_and_the_lowest_number_among_equal_ones(width: int) -> None:
    cases = [(mask, keys) for mask in range(1 << width) for keys in product(range(4), repeat=width)]
    expected = []
    for mask, keys in cases:
        able = [number for number in range(width) if mask >> number & 1]
        best = min(able, key=lambda number: (keys[number], number), default=None)
        expected.append(None if best is None else (best, keys[best]))
    assert answers(width, 2, cases) == expected


@pytest.mark.parametrize("key_bits", [0, 2])
def test_no_signal_without_bits_is_written(key_bits: int) -> None:
    assert "[-1:0]" not in emit(Select(5, key_bits), "select")
