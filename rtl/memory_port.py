"""Reading and writing one memory: both engines behind one AXI port."""

from typing import Any

from amaranth.hdl import Module, ResetInserter
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hwroute.rtl.axi import AxiPort
from hwroute.rtl.beat_width import BeatPairer, BeatSplitter, pair_store_layout, pair_words
from hwroute.rtl.memory_layouts import ANSWER, REQUEST, beat_layout, store_layout
from hwroute.rtl.memory_reader import MemoryReader
from hwroute.rtl.memory_writer import MemoryWriter


def stream_layouts(port: AxiPort, *, paired: bool) -> tuple[data.StructLayout, data.StructLayout]:
    """Return the payloads of beats read and of beats to write, one by one or in pairs."""
    if paired:
        return beat_layout(pair_words(port)), pair_store_layout(port)
    return beat_layout(port.words), store_layout(port.words)


def memory_members(port: AxiPort, *, paired: bool) -> dict[str, Any]:
    """Return the members of a component that reads and writes a memory; see `MemoryPort`."""
    beats, store = stream_layouts(port, paired=paired)
    return {
        "read": In(stream.Signature(REQUEST)),
        "beats": Out(stream.Signature(beats)),
        "write": In(stream.Signature(REQUEST)),
        "data": In(stream.Signature(store)),
        "answer": Out(stream.Signature(ANSWER)),
        "axi": Out(port.signature()),
    }


class MemoryPort(wiring.Component):
    """Read and write at once, in the clock domain of the memory; latencies in `hwroute.timing`.

    Reads and writes overtake each other: who reads what it wrote waits for the answer.

    Parameters
    ----------
    port
        Widths of the AXI port.
    beats
        Size of the memory.
    paired
        Beats on the machine's side are pairs of the memory's.

    Members
    -------
    read, write
        Streams of `REQUEST`, in beats of the memory.
    beats
        Stream of `beat_layout`. In a pair, nothing is beside the last beat of an odd request.
    data
        Stream of `store_layout`; of `pair_store_layout` for pairs.
    answer
        Stream of `ANSWER`.
    axi
        The port (`AxiPort.signature`).
    clear : ``In(1)``
        Forget every request, as the engines do.
    idle : ``Out(1)``
        The memory has answered everything.
    """

    def __init__(self, port: AxiPort, *, beats: int, paired: bool = False):
        self.port = port
        self.memory_beats = beats
        self.paired = paired
        super().__init__(memory_members(port, paired=paired) | {"clear": In(1), "idle": Out(1)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.reader = reader = MemoryReader(self.port, beats=self.memory_beats)
        m.submodules.writer = writer = MemoryWriter(self.port, beats=self.memory_beats)
        m.d.comb += [
            reader.clear.eq(self.clear),
            writer.clear.eq(self.clear),
            self.idle.eq(reader.idle & writer.idle),
        ]
        for name in ("ar", "aw", "w"):
            engine: Any = reader if name == "ar" else writer
            connect(m, getattr(engine, name), flipped(getattr(self.axi, name)))
        connect(m, flipped(self.axi.r), reader.r)
        connect(m, flipped(self.axi.b), writer.b)
        connect(m, flipped(self.read), reader.request)
        connect(m, flipped(self.write), writer.request)
        connect(m, writer.answer, flipped(self.answer))
        beats, store = reader.o, writer.i
        if self.paired:
            pairer: Any = BeatPairer(self.port)
            splitter: Any = BeatSplitter(self.port)
            m.submodules.pairer = ResetInserter(self.clear)(pairer)
            m.submodules.splitter = ResetInserter(self.clear)(splitter)
            connect(m, beats, pairer.i)
            connect(m, splitter.o, store)
            beats, store = pairer.o, splitter.i
        connect(m, beats, flipped(self.beats))
        connect(m, flipped(self.data), store)
        return m
