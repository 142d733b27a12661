"""Compaction of a bitmask plane: the numbers of the rows that it holds."""

from typing import Any

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In

from hwroute.rtl.row_list_layouts import RowListPort
from hwroute.rtl.select import lowest_set


class RowLister(wiring.Component):
    """List rows of planes. Latency `hwroute.timing.ROW_LIST_CYCLES`, one row a cycle.

    The next list follows without a gap. A list is of the plane as it was when the request for it
    was accepted.

    Parameters
    ----------
    tile
        Rows of a plane.
    planes
        How many there are, plane 0 (every row) included.

    Members
    -------
    planes
        ``In``, their bits, row 0 the lowest; those of plane 0 are not looked at.
    port
        `hwroute.rtl.row_list_layouts.RowListPort`. A plane that is not there holds no row.
    """

    def __init__(self, *, tile: int, planes: int):
        self.tile = tile
        self.count = planes
        super().__init__({"planes": In(data.ArrayLayout(tile, planes)), "port": In(RowListPort())})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        request, rows = self.port.request, self.port.rows
        asked, listing, left = Signal(), Signal(), Signal(self.tile)
        first = lowest_set(m, left, "first")
        others = left & (left - 1)
        move = listing & (~rows.valid | rows.ready)
        below = Cat(request.payload.rows > row for row in range(self.tile))
        every = (1 << self.tile) - 1
        bits = Array([every, *(self.planes[plane] for plane in range(1, self.count))])
        there = request.payload.plane < self.count
        m.d.comb += [
            request.ready.eq(~listing | (move & ~others.any())),
            asked.eq(request.valid & request.ready),
        ]
        with m.If(move):
            m.d.sync += [listing.eq(others.any()), left.eq(others)]
        with m.If(asked):
            chosen = bits[request.payload.plane] & below
            m.d.sync += [listing.eq(1), left.eq(Mux(there, chosen, 0))]
        with m.If(~rows.valid | rows.ready):
            m.d.sync += [
                rows.valid.eq(listing),
                rows.payload.row.eq(first.number),
                rows.payload.last.eq(~others.any()),
                rows.payload.empty.eq(~first.any),
            ]
        return m
