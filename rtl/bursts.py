"""Split requests to memory into bursts."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hwroute.rtl.axi import AxiPort
from hwroute.rtl.memory_layouts import REQUEST

BURST = data.StructLayout(
    {"first": REQUEST["first"].shape, "beats": REQUEST["count"].shape, "final": 1, "refused": 1}
)
"""Part of a request, the ``final`` one or not. ``refused``: the request leaves the memory, this is
all of it."""


class BurstSplitter(wiring.Component):
    """Cut requests at multiples of `hwroute.rtl.axi.BURST_BYTES`; refuse those beyond the memory.

    Latency `hwroute.memory_timing.BURST_CYCLES`, one burst a cycle.

    Parameters
    ----------
    port
        Size of beats and bursts.
    beats
        Size of the memory.

    Members
    -------
    i
        Stream of `REQUEST`.
    o
        Stream of `BURST`.
    empty : ``Out(1)``
        No request is inside.

    Raises
    ------
    ValueError
        `beats` is not positive, or more than a request can name.
    """

    def __init__(self, port: AxiPort, *, beats: int):
        if not 0 < beats <= 1 << REQUEST["first"].width:
            raise ValueError(
                f"Beats must be from 1 to {1 << REQUEST['first'].width}, not {beats!r}"
            )
        self.port = port
        self.beats = beats
        super().__init__(
            {
                "i": In(stream.Signature(REQUEST)),
                "o": Out(stream.Signature(BURST)),
                "empty": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        first, count = self.i.payload.first, self.i.payload.count
        checked, splitting = Signal(), Signal()
        asked, left = Signal(REQUEST), Signal(REQUEST)
        end = Signal(len(first) + 1)
        refused = Signal()
        move, done, step = Signal(), Signal(), Signal()
        m.d.comb += [
            step.eq(~self.o.valid | self.o.ready),
            move.eq(~splitting | (done & step)),
            self.i.ready.eq(~checked | move),
            self.empty.eq(~checked & ~splitting & ~self.o.valid),
        ]
        with m.If(self.i.ready):
            m.d.sync += [checked.eq(self.i.valid), asked.eq(self.i.payload), end.eq(first + count)]
        with m.If(move):
            m.d.sync += [
                splitting.eq(checked),
                left.eq(asked),
                refused.eq((end > self.beats) | ~asked.count.any()),
            ]
        burst = self._next(m, left, refused)
        m.d.comb += done.eq(burst.final)
        with m.If(step):
            m.d.sync += [self.o.valid.eq(splitting), self.o.payload.eq(burst)]
        with m.If(splitting & step & ~done):
            m.d.sync += [
                left.first.eq(left.first + burst.beats),
                left.count.eq(left.count - burst.beats),
            ]
        return m

    def _next(self, m: Module, left: Any, refused: Signal) -> Any:
        """Return the burst that begins what is left of a request."""
        longest = self.port.burst_beats
        burst = Signal(BURST)
        to_boundary = Signal(range(longest + 1))
        fits = Signal()
        m.d.comb += [
            to_boundary.eq(longest - left.first[: (longest - 1).bit_length()]),
            fits.eq(left.count <= to_boundary),
            burst.first.eq(left.first),
            burst.refused.eq(refused),
            burst.final.eq(fits | refused),
            burst.beats.eq(Mux(burst.final, left.count, to_boundary)),
        ]
        return burst
