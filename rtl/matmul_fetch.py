"""Read matrices into a ring, ahead of their use: weights from the HBM ports, scales from DDR."""

from typing import Any

from amaranth.hdl import Assert, Cat, Module, Mux, Signal, Value
from amaranth.lib import data, fifo, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from hwroute.rtl.matmul_layouts import (
    JOBS,
    STRIPES,
    MatmulShape,
    place_layout,
    run_layout,
)
from hwroute.rtl.matmul_runs import MatmulRuns, asked_layout
from hwroute.rtl.memory_layouts import REQUEST, beat_layout
from hwroute.rtl.pipeline import register
from hwroute.rtl.streams import Fork


class MatmulFetch(wiring.Component):
    """Keep a ring of stripes filled: requests to all ports alike, their beats side by side.

    A beat of each port makes a beat of the ring, ``row_beats`` of which make a row. Requests are
    made only for room that is there, so ports never wait. Latency 3 cycles from a matrix to its
    first request, 2 from the beats that complete a row to the row; a row a cycle.

    Parameters
    ----------
    shape
        Batches and chunks.
    ports
        Number of them.
    beat
        Shape of a port's beat on the machine's side.
    pairing
        What a port counts, in such a beat.
    run
        Of a chunk, in what the port counts.
    row_beats
        Beats of a row, a power of two.

    Members
    -------
    i
        Stream of `hwroute.rtl.matmul_layouts.run_layout`: matrices.
    request_0, beats_0, ...
        Streams of `hwroute.rtl.memory_layouts.REQUEST` and `beat_layout` to and from each port.
    errors
        Stream, a bit for each matrix: a beat of it was in error.
    place
        Place of a row.
    there
        It is in the ring.
    read_en, row
        Read it; the row follows a cycle later, and stays until the next.
    release
        All of the oldest stripe has been read.
    """

    def __init__(
        self,
        shape: MatmulShape,
        *,
        ports: int,
        beat: data.ArrayLayout,
        pairing: int,
        run: int,
        row_beats: int = 1,
    ):
        self.shape = shape
        self.ports = ports
        self.beat = beat
        self.pairing = pairing
        self.run = run
        self.row_beats = row_beats
        self.rows = -(-run // (pairing * row_beats))
        width = ports * beat.size * row_beats
        members: dict[str, Any] = {
            "i": In(stream.Signature(run_layout(shape))),
            "errors": Out(stream.Signature(1)),
            "place": In(place_layout(shape, self.rows)),
            "there": Out(1),
            "read_en": In(1),
            "row": Out(width),
            "release": In(1),
        }
        for port in range(ports):
            members[f"request_{port}"] = Out(stream.Signature(REQUEST))
            members[f"beats_{port}"] = In(stream.Signature(beat_layout(beat)))
        super().__init__(members)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        tags = self._ask(m)
        arrived = self._collect(m, tags)
        ahead = arrived - Value.cast(self.place) - 1
        m.d.comb += self.there.eq(~ahead[len(arrived) - 1])
        return m

    def _ask(self, m: Module) -> Any:
        """Send requests to all ports; return the queue of what they were for."""
        m.submodules.runs = runs = MatmulRuns(self.shape, run=self.run)
        m.submodules.fork = fork = Fork(REQUEST, ways=self.ports)
        tag = asked_layout(self.shape)
        m.submodules.tags = tags = fifo.SyncFIFO(
            width=tag["chunk"].width + 1, depth=STRIPES * self.shape.tracks
        )
        wiring.connect(m, wiring.flipped(self.i), runs.i)
        for port, way in enumerate(fork.outputs):
            wiring.connect(m, way, wiring.flipped(getattr(self, f"request_{port}")))
        asked = runs.o.payload
        m.d.comb += [
            runs.release.eq(self.release),
            fork.i.valid.eq(runs.o.valid & tags.w_rdy),
            fork.i.payload.eq(asked.request),
            runs.o.ready.eq(fork.i.ready & tags.w_rdy),
            tags.w_en.eq(runs.o.valid & runs.o.ready),
            tags.w_data.eq(Cat(asked.chunk, asked.final)),
        ]
        return tags

    def _collect(self, m: Module, tags: Any) -> Signal:
        """Write what arrives into the ring; return the place behind the last row that is there."""
        beats = [getattr(self, f"beats_{port}") for port in range(self.ports)]
        beat_bits = (self.row_beats - 1).bit_length()
        count = Signal(beat_bits + len(self.place.row))
        taken, last, wrong = Signal(), beats[0].payload.last, Signal()
        m.d.comb += taken.eq(Cat(beat.valid for beat in beats).all() & tags.r_rdy)
        m.d.comb += [beat.ready.eq(taken) for beat in beats]
        m.d.comb += tags.r_en.eq(taken & last)
        with m.If(taken):
            m.d.sync += count.eq(Mux(last, 0, count + 1))
        at = Cat(count, tags.r_data[:-1])
        write_at, ends, write = Signal(len(at)), Signal(), Signal()
        m.d.sync += [write.eq(taken), write_at.eq(at), ends.eq(last)]
        arrived = Signal(len(at) - beat_bits)
        row = write_at[beat_bits:-1]
        rings = [
            self._ring(m, port, write, write_at[:beat_bits], row) for port in range(self.ports)
        ]
        # A beat of the machine's side has several of a port; all ports' first ones come first.
        size = self.beat.size // self.pairing
        parts = [ring[low : low + size] for low in range(0, len(rings[0]), size) for ring in rings]
        m.d.comb += self.row.eq(Cat(parts))
        with m.If(write):
            behind = Mux(ends, (write_at | (1 << len(count)) - 1), write_at) + 1
            m.d.sync += arrived.eq(behind[beat_bits:])

        m.submodules.found = found = fifo.SyncFIFO(width=1, depth=JOBS)
        any_wrong = wrong | Cat(beat.payload.error for beat in beats).any()
        final = taken & last & tags.r_data[-1]
        m.d.comb += [
            found.w_en.eq(final),
            found.w_data.eq(any_wrong),
            self.errors.valid.eq(found.r_rdy),
            self.errors.payload.eq(found.r_data),
            found.r_en.eq(self.errors.ready),
        ]
        with m.If(taken):
            m.d.sync += wrong.eq(any_wrong & ~final)
        m.d.sync += Assert(~final | found.w_rdy)
        return arrived

    def _ring(self, m: Module, port: int, write: Value, beat: Value, row: Value) -> Value:
        """Write a port's beats into its part of the ring, a cycle after they came; return a row."""
        m.submodules[f"ring_{port}"] = ring = memory.Memory(
            shape=self.beat.size * self.row_beats, depth=1 << len(row), init=[]
        )
        payload = Value.cast(getattr(self, f"beats_{port}").payload.data)
        word = register(m, 1, payload, f"word_{port}")
        written, table = ring.write_port(granularity=self.beat.size), ring.read_port()
        m.d.comb += [
            written.addr.eq(row),
            written.data.eq(word.replicate(self.row_beats)),
            written.en.eq(Mux(write, 1 << beat, 0)),
            table.addr.eq(Value.cast(self.place)[:-1]),
            table.en.eq(self.read_en),
        ]
        return Value.cast(table.data)
