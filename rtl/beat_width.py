"""Between beats of a memory port and wider ones on the machine's side."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hwroute.rtl.axi import WORD_BITS, AxiPort
from hwroute.rtl.memory_layouts import beat_layout, store_layout


def pair_words(port: AxiPort) -> data.ArrayLayout:
    """Return the shape of two beats side by side, the first one below."""
    return data.ArrayLayout(WORD_BITS, 2 * port.data_bits // WORD_BITS)


def pair_store_layout(port: AxiPort) -> data.StructLayout:
    """Return a pair of beats to write, and which of its bytes.

    ``half``: the request ends with the lower beat, there is no upper one.
    """
    return data.StructLayout({**dict(store_layout(pair_words(port)).members), "half": 1})


class BeatPairer(wiring.Component):
    """Put two beats of a request side by side. Latency 1 cycle, one beat a cycle.

    Above the last beat of an odd request are zeros; ``error`` is that of either beat.

    Parameters
    ----------
    port
        Size of a beat.

    Members
    -------
    i, o
        Streams of `beat_layout`, of one beat and of `pair_words`.
    """

    def __init__(self, port: AxiPort):
        super().__init__(
            {
                "i": In(stream.Signature(beat_layout(port.words))),
                "o": Out(stream.Signature(beat_layout(pair_words(port)))),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        upper = Signal()
        lower, beat = Signal(self.i.payload.shape()), self.i.payload
        low, high = Value.cast(lower.data), Value.cast(beat.data)
        m.d.comb += self.i.ready.eq(~self.o.valid | self.o.ready)
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [
                upper.eq(~upper & ~beat.last),
                lower.eq(beat),
                self.o.valid.eq(upper | beat.last),
                Value.cast(self.o.payload.data).eq(Mux(upper, Cat(low, high), high)),
                self.o.payload.error.eq(beat.error | (upper & lower.error)),
                self.o.payload.last.eq(beat.last),
            ]
        return m


class BeatSplitter(wiring.Component):
    """Take pairs of beats apart. Latency 1 cycle, one beat a cycle.

    Parameters
    ----------
    port
        Size of a beat.

    Members
    -------
    i
        Stream of `pair_store_layout`.
    o
        Stream of `store_layout`.
    """

    def __init__(self, port: AxiPort):
        super().__init__(
            {
                "i": In(stream.Signature(pair_store_layout(port))),
                "o": Out(stream.Signature(store_layout(port.words))),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        upper, step = Signal(), Signal()
        pair = self.i.payload
        m.d.comb += [
            step.eq(self.i.valid & (~self.o.valid | self.o.ready)),
            self.i.ready.eq((~self.o.valid | self.o.ready) & (upper | pair.half)),
        ]
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(step):
            m.d.sync += [self.o.valid.eq(1), upper.eq(~upper & ~pair.half)]
            for name in ("data", "strobe"):
                whole, part = Value.cast(pair[name]), Value.cast(self.o.payload[name])
                m.d.sync += part.eq(Mux(upper, whole[len(part) :], whole[: len(part)]))
        return m
