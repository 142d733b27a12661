"""Ask for the chunks of a matrix, stripe by stripe."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hwroute.rtl.matmul_layouts import STRIPES, MatmulShape, chunk_layout, run_layout
from hwroute.rtl.memory_layouts import REQUEST


def asked_layout(shape: MatmulShape) -> data.StructLayout:
    """Return a request, where what it brings goes, and whether it is the last of its matrix."""
    return data.StructLayout({"request": REQUEST, "chunk": chunk_layout(shape), "final": 1})


class MatmulRuns(wiring.Component):
    """Cut matrices into requests for chunks. Latency 2 cycles, a request a cycle.

    Blocks come in batches; of each batch, stripe after stripe, the chunk of every block. A stripe
    is asked for when one of the ring is free.

    Parameters
    ----------
    shape
        Batches and chunks.
    run
        Of a chunk, in what the port counts.

    Members
    -------
    i
        Stream of `hwroute.rtl.matmul_layouts.run_layout`.
    o
        Stream of `asked_layout`.
    release
        A stripe of the ring is free again.
    """

    def __init__(self, shape: MatmulShape, *, run: int):
        self.shape = shape
        self.run = run
        super().__init__(
            {
                "i": In(stream.Signature(run_layout(shape))),
                "o": Out(stream.Signature(asked_layout(shape))),
                "release": In(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        job, o = self.i.payload, self.o.payload
        active, left = Signal(), Signal(self.shape.block_bits)
        # A block's rest; addresses of the batch and of the chunk; what of a block is behind.
        rest = Signal.like(job.stride)
        base, address, offset = (Signal.like(job.first, name=n) for n in ("base", "at", "offset"))
        chunk = Signal(o.chunk.shape())
        free = Signal(range(STRIPES + 1), init=STRIPES)
        batch = self.shape.batch(job.spread, left)
        step, last_track, last_chunk = Signal(), Signal(), Signal()
        begins = chunk.track == 0
        m.d.comb += [
            step.eq(active & (~self.o.valid | self.o.ready) & (~begins | free.any())),
            last_track.eq(chunk.track == batch - 1),
            last_chunk.eq(rest <= self.run),
            self.i.ready.eq(step & last_track & last_chunk & (left == batch)),
        ]
        m.d.sync += free.eq(free + self.release - (step & begins))
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(~active):
            m.d.sync += [
                active.eq(self.i.valid),
                left.eq(job.blocks),
                base.eq(job.first),
                address.eq(job.first),
                offset.eq(0),
                rest.eq(job.stride),
            ]
        with m.If(step):
            m.d.sync += [
                self.o.valid.eq(1),
                o.request.first.eq(address),
                o.request.count.eq(Mux(last_chunk, rest, self.run)),
                o.chunk.eq(chunk),
                o.final.eq(self.i.ready),
                chunk.track.eq(Mux(last_track, 0, chunk.track + 1)),
                chunk.stripe.eq(chunk.stripe + last_track),
                address.eq(address + job.stride),
                active.eq(~self.i.ready),
            ]
            with m.If(last_track & ~last_chunk):
                m.d.sync += [
                    rest.eq(rest - self.run),
                    offset.eq(offset + self.run),
                    address.eq(base + offset + self.run),
                ]
            with m.If(last_track & last_chunk):
                behind = address - offset + job.stride
                m.d.sync += [
                    left.eq(left - batch),
                    rest.eq(job.stride),
                    offset.eq(0),
                    base.eq(behind),
                    address.eq(behind),
                ]
        return m
