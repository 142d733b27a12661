# amaranth: UnusedElaboratable=no
"""Parts: emitted once, placed many times."""

from typing import Any

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwroute.rtl.emit import emit
from hwroute.rtl.part import Part


class Increment(wiring.Component):
    """Register i + 1."""

    i: In(8)
    o: Out(8)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.d.sync += self.o.eq(self.i + 1)
        return m


class Chain(wiring.Component):
    """A chain of parts."""

    i: In(8)
    o: Out(8)

    def __init__(self, components: list[wiring.Component]):
        self.components = components
        super().__init__()

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        value = self.i
        for index, component in enumerate(self.components):
            part: Any = Part("increment", component)
            m.submodules[f"part_{index}"] = part
            m.d.comb += part.i.eq(value)
            value = part.o
        m.d.comb += self.o.eq(value)
        return m


def test_a_part_is_emitted_once_and_placed_as_often_as_asked():
    text = emit(Chain([Increment()] * 5), "chain")
    assert text.count("\nmodule increment(") == 1
    assert text.count("  increment ") == 5


def test_two_emissions_are_identical():
    assert emit(Chain([Increment()] * 2), "chain") == emit(Chain([Increment()] * 2), "chain")


def test_two_components_under_one_name_are_refused():
    with pytest.raises(ValueError, match="the component placed before, not 'increment' anew"):
        emit(Chain([Increment(), Increment()]), "chain")
