"""The DMA unit: move lines between DDR and scratchpad."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hwroute.config import Config
from hwroute.rtl.axi import DDR_PORT
from hwroute.rtl.dma_layouts import Move
from hwroute.rtl.dma_load import DMALoader
from hwroute.rtl.dma_places import DMAPlaces
from hwroute.rtl.dma_rows import DMARows
from hwroute.rtl.dma_store import DMAStorer
from hwroute.rtl.issue_layouts import DONE, ISSUED
from hwroute.rtl.memory_layouts import ANSWER, REQUEST, beat_layout, store_layout
from hwroute.rtl.row_list_layouts import RowListPort
from hwroute.rtl.scratchpad_layouts import ReadPort, WritePort

INSTRUCTIONS = 64
"""Instructions that may be on their way; more than rows that the unit holds."""


class DMA(wiring.Component):
    """Execute ``load``, ``store``, ``gather`` and ``put`` (`hwroute.isa.memory`).

    A line every two cycles, one after the other within a row and from row to row where rows have
    two lines or more; loads follow each other without waiting, and so do stores. Between the two,
    and around a put, the unit waits until everything before is done, so what an instruction reads
    is what those before it wrote. `hwroute.timing` has the latencies.

    An instruction that leads out of a memory, to an id outside the vocabulary or to a tile that is
    empty or too long ends with an error, and so does one for which DDR reports one. Rows before the
    one at fault may have moved.

    Parameters
    ----------
    config
        Sizes of the memories, and of a tile.

    Members
    -------
    issue
        Stream of `ISSUED`.
    done
        Stream of `DONE`.
    rows
        `RowListPort`.
    load, store
        `WritePort` and `ReadPort` of the scratchpad.
    read, beats, write, data, answer
        The streams of a `hwroute.rtl.memory_port.MemoryPort` at DDR.
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__(
            {
                "issue": In(stream.Signature(ISSUED)),
                "done": Out(stream.Signature(DONE)),
                "rows": Out(RowListPort()),
                "load": Out(WritePort()),
                "store": Out(ReadPort()),
                "read": Out(stream.Signature(REQUEST)),
                "beats": In(stream.Signature(beat_layout(DDR_PORT.words))),
                "write": Out(stream.Signature(REQUEST)),
                "data": Out(stream.Signature(store_layout(DDR_PORT.words))),
                "answer": In(stream.Signature(ANSWER)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.walk = walk = DMARows(self.config)
        m.submodules.places = places = DMAPlaces(self.config)
        m.submodules.loader = loader = DMALoader()
        m.submodules.storer = storer = DMAStorer()
        connect(m, flipped(self.issue), walk.i)
        connect(m, walk.rows, flipped(self.rows))
        connect(m, walk.o, places.i)
        connect(m, loader.ids, walk.ids)
        connect(m, loader.read, flipped(self.read))
        connect(m, flipped(self.beats), loader.beats)
        connect(m, loader.write, flipped(self.load))
        connect(m, storer.read, flipped(self.store))
        connect(m, storer.write, flipped(self.write))
        connect(m, storer.data, flipped(self.data))
        connect(m, flipped(self.answer), storer.answer)
        command = places.o.payload
        stores = (command.move == Move.STORE) | (command.move == Move.PUT)
        busy = Signal(range(INSTRUCTIONS + 1))
        given, taken = places.o, self.done
        m.d.comb += [
            loader.i.valid.eq(given.valid & ~stores),
            storer.i.valid.eq(given.valid & stores),
            loader.i.payload.eq(command),
            storer.i.payload.eq(command),
            given.ready.eq(Mux(stores, storer.i.ready, loader.i.ready)),
            # Only one of the two is ever at work.
            taken.valid.eq(loader.done.valid | storer.done.valid),
            taken.payload.eq(Mux(loader.done.valid, loader.done.payload, storer.done.payload)),
            loader.done.ready.eq(taken.ready),
            storer.done.ready.eq(taken.ready),
            walk.dropping.eq(places.dropping),
            walk.settled.eq(places.empty),
            walk.quiet.eq(~busy.any()),
        ]
        m.d.sync += busy.eq(
            busy + (given.valid & given.ready & command.end) - (taken.valid & taken.ready)
        )
        return m
