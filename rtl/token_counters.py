"""Count the tokens that units have given each other."""

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hwroute.isa.fields import QUEUED

UNITS = len(QUEUED)
MASKS = data.ArrayLayout(UNITS, UNITS)
"""For each unit a mask of units."""


class TokenCounters(wiring.Component):
    """A saturating counter for every pair of units. What is given can be taken a cycle later.

    Parameters
    ----------
    bits
        Width of a counter.

    Members
    -------
    give : ``In(MASKS)``
        For each unit, those it gives a token in this cycle.
    take : ``In(MASKS)``
        For each unit, those of which it takes a token in this cycle (only what is available).
    available : ``Out(MASKS)``
        For each unit, those of which a token is there.
    overflow : ``Out(MASKS)``
        For each unit, those that its token is lost to in this cycle: the counter is full.
    """

    def __init__(self, *, bits: int):
        self.bits = bits
        super().__init__(
            {"give": In(MASKS), "take": In(MASKS), "available": Out(MASKS), "overflow": Out(MASKS)}
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        for giver in QUEUED:
            for taker in QUEUED:
                name = f"{giver.name.lower()}_{taker.name.lower()}"
                count = Signal(self.bits, name=name)
                given, taken = self.give[giver][taker], self.take[taker][giver]
                m.d.comb += [
                    self.available[taker][giver].eq(count.any()),
                    self.overflow[giver][taker].eq(given & ~taken & count.all()),
                ]
                with m.If(given & ~taken & ~count.all()):
                    m.d.sync += count.eq(count + 1)
                with m.If(taken & ~given):
                    m.d.sync += count.eq(count - 1)
        return m
