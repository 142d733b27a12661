"""Small parts of streams: skid buffer, fork, join."""

from collections.abc import Mapping
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out


class SkidBuffer(wiring.Component):
    """Register a stream in both directions. Latency 1 cycle, one payload a cycle, two held.

    Neither ``o.valid`` and ``o.payload`` nor ``i.ready`` depends on an input within the cycle.

    Parameters
    ----------
    shape
        Of the payload.

    Members
    -------
    i, o
        Streams.
    """

    def __init__(self, shape: Any):
        self.shape = shape
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        kept = Signal.like(self.i.payload, name="kept", reset_less=True)
        full = Signal()
        m.d.comb += self.i.ready.eq(~full)
        with m.If(~self.o.valid | self.o.ready):
            m.d.sync += [
                self.o.valid.eq(full | self.i.valid),
                self.o.payload.eq(Mux(full, kept, self.i.payload)),
                full.eq(0),
            ]
        with m.Elif(self.i.valid & ~full):
            m.d.sync += [full.eq(1), kept.eq(self.i.payload)]
        return m


class Fork(wiring.Component):
    """Give every payload to several streams, each taking it when it is ready. Latency 0.

    A payload leaves the input with the last of the outputs that take it.

    Parameters
    ----------
    shape
        Of the payload.
    ways
        Number of outputs, at least 1.

    Members
    -------
    i
        Stream.
    o_0, o_1, ...
        Streams, also as the list `outputs`.

    Raises
    ------
    ValueError
        There is no output.
    """

    def __init__(self, shape: Any, *, ways: int = 2):
        if ways < 1:
            raise ValueError(f"Ways must be at least 1, not {ways!r}")
        self.ways = ways
        members = {f"o_{way}": Out(stream.Signature(shape)) for way in range(ways)}
        super().__init__({"i": In(stream.Signature(shape))} | members)

    @property
    def outputs(self) -> list[Any]:
        """The output streams in order."""
        return [getattr(self, f"o_{way}") for way in range(self.ways)]

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        given = Signal(self.ways)
        taken = Signal(self.ways)
        m.d.comb += [
            taken.eq(given | Cat(output.ready for output in self.outputs)),
            self.i.ready.eq(taken.all()),
        ]
        for way, output in enumerate(self.outputs):
            m.d.comb += [
                output.valid.eq(self.i.valid & ~given[way]),
                output.payload.eq(self.i.payload),
            ]
        with m.If(self.i.valid):
            m.d.sync += given.eq(Mux(taken.all(), 0, taken))
        return m


class Join(wiring.Component):
    """Put one payload of each of several streams into one struct. Latency 0.

    Parameters
    ----------
    shapes
        Shapes of the payloads by name; none may be called ``o``.

    Members
    -------
    (each name of `shapes`)
        Input streams.
    o
        Stream of a struct with these fields in order.

    Raises
    ------
    ValueError
        There is no input, or one is called ``o``.
    """

    def __init__(self, shapes: Mapping[str, Any]):
        if not shapes or "o" in shapes:
            raise ValueError(f"Shapes must be at least one, none called 'o', not {[*shapes]!r}")
        self.names = list(shapes)
        members = {name: In(stream.Signature(shape)) for name, shape in shapes.items()}
        joined = data.StructLayout(dict(shapes))
        super().__init__(members | {"o": Out(stream.Signature(joined))})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        inputs = {name: getattr(self, name) for name in self.names}
        m.d.comb += self.o.valid.eq(Cat(port.valid for port in inputs.values()).all())
        for name, port in inputs.items():
            m.d.comb += [
                port.ready.eq(self.o.valid & self.o.ready),
                self.o.payload[name].eq(port.payload),
            ]
        return m
