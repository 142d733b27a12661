"""Count the tiles of a buffer that is written ahead and read late."""

from typing import Any

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


class TileQueue(wiring.Component):
    """Pointers of a ring of tiles: begun, filled, popped, and free again some cycles later.

    A tile that is filled in a cycle can be read in the next one.

    Parameters
    ----------
    tiles
        Capacity, a power of two.
    life
        Cycles after a pop in which the pipeline still reads the tile.

    Members
    -------
    begin
        A tile is begun (only while ``free``).
    filled
        The oldest tile begun is complete.
    pop
        The oldest tile filled is read for the last time (only while ``available``).
    free, available
        Another tile may be begun; a tile may be read.
    write, read
        Where the oldest tile begun but not filled is, and the oldest one filled.
    """

    def __init__(self, *, tiles: int, life: int):
        self.tiles = tiles
        self.life = life
        bits = (tiles - 1).bit_length()
        super().__init__(
            {
                "begin": In(1),
                "filled": In(1),
                "pop": In(1),
                "free": Out(1),
                "available": Out(1),
                "write": Out(bits),
                "read": Out(bits),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        used = Signal(range(self.tiles + 1))
        ready = Signal(range(self.tiles + 1))
        leaving = Signal(self.life - 1)
        m.d.sync += [
            leaving.eq(Cat(self.pop, leaving[:-1])),
            used.eq(used + self.begin - leaving[-1]),
            ready.eq(ready + self.filled - self.pop),
            self.write.eq(self.write + self.filled),
            self.read.eq(self.read + self.pop),
        ]
        m.d.comb += [self.free.eq(used != self.tiles), self.available.eq(ready.any())]
        return m
