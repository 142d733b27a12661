"""The `matmul` instruction: from issue to the lines it writes, around the PE array."""

from typing import Any

from amaranth.hdl import Cat, Module, Value
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out, connect, flipped

from hwroute.config import Config
from hwroute.rtl.array_layouts import o_payload, w_payload, x_payload
from hwroute.rtl.axi import DDR_PORT, HBM_PORT
from hwroute.rtl.beat_width import pair_words
from hwroute.rtl.issue_layouts import DONE, ISSUED
from hwroute.rtl.matmul_fetch import MatmulFetch
from hwroute.rtl.matmul_front import MatmulFront
from hwroute.rtl.matmul_input import MatmulInput
from hwroute.rtl.matmul_layouts import JOBS, MatmulShape
from hwroute.rtl.matmul_output import MatmulOutput
from hwroute.rtl.matmul_tiles import MatmulTiles
from hwroute.rtl.matmul_writer import MatmulWriter
from hwroute.rtl.memory_layouts import REQUEST, beat_layout
from hwroute.rtl.row_list_layouts import RowListPort
from hwroute.rtl.scratchpad_layouts import ReadPort, WritePort


class MatmulControl(wiring.Component):
    """Run matmul instructions on a PE array, as `hwroute.models.interpreter.array.Array` does.

    Weights and scales are read ahead, those of up to `hwroute.rtl.matmul_layouts.JOBS` instructions
    of which the first has not ended. Input rows are read when what instructions before it write
    is written. Column blocks come in batches where few rows would wait for their own sums
    (`hwroute.rtl.matmul_layouts.MatmulShape`); partial sums stay with ``first`` and ``last`` only
    as long as no instruction with both comes between.

    Parameters
    ----------
    config
        Sizes of array, ports and memories; numerics.

    Members
    -------
    issue, done
        Streams of `hwroute.rtl.issue_layouts.ISSUED` and `DONE`. ``error``: the tile is empty or
        too long, the instruction leads beyond a memory, or a read failed.
    list
        `hwroute.rtl.row_list_layouts.RowListPort`.
    read_x, read_bias
        `hwroute.rtl.scratchpad_layouts.ReadPort`.
    write
        `hwroute.rtl.scratchpad_layouts.WritePort`.
    weight_request_0, weight_beats_0, ...
        Streams of `hwroute.rtl.memory_layouts.REQUEST` and `beat_layout` to and from each HBM port.
    scale_request, scale_beats
        The same of the DDR port.
    x, w, o
        Streams of the array, `hwroute.rtl.array_layouts`.
    overflow
        A value of an instruction that has not ended was saturated.

    Raises
    ------
    ValueError
        The machine's side of an HBM port is neither one nor two beats wide.
    """

    def __init__(self, config: Config):
        if not isinstance(config, Config):
            raise TypeError(f"Sizes must be a Config, not {config!r}")
        self.config = config
        self.shape = MatmulShape.of(config)
        self.beat = HBM_PORT.words if self.shape.pairing == 1 else pair_words(HBM_PORT)
        members: dict[str, Any] = {
            "issue": In(stream.Signature(ISSUED)),
            "done": Out(stream.Signature(DONE)),
            "list": Out(RowListPort()),
            "read_x": Out(ReadPort()),
            "read_bias": Out(ReadPort()),
            "write": Out(WritePort()),
            "scale_request": Out(stream.Signature(REQUEST)),
            "scale_beats": In(stream.Signature(beat_layout(DDR_PORT.words))),
            "x": Out(stream.Signature(x_payload(config))),
            "w": Out(stream.Signature(w_payload(config))),
            "o": In(stream.Signature(o_payload(config))),
            "overflow": Out(1),
        }
        for port in range(self.shape.ports):
            members[f"weight_request_{port}"] = Out(stream.Signature(REQUEST))
            members[f"weight_beats_{port}"] = In(stream.Signature(beat_layout(self.beat)))
        super().__init__(members)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.front = front = MatmulFront(self.config)
        m.submodules.input = inputs = MatmulInput(self.config)
        m.submodules.output = output = MatmulOutput(self.config)
        m.submodules.writer = writer = MatmulWriter(self.config)
        weights, scales, tiles = self._weights(m)
        job = front.o.payload
        busy = output.i.payload
        users = {
            "weights": (weights.i, job.weights),
            "scales": (scales.i, job.scales),
            "tiles": (tiles.i, job.input.walk),
            "input": (inputs.i, job.input),
            "output": (output.i, job.output),
        }
        self._hand_out(m, front.o, users)
        connect(m, flipped(self.issue), front.issue)
        connect(m, front.list, flipped(self.list))
        connect(m, inputs.read, flipped(self.read_x))
        connect(m, inputs.x, flipped(self.x))
        connect(m, output.o, writer.i)
        connect(m, output.bias, flipped(self.read_bias.request))
        connect(m, flipped(self.read_bias.response), writer.bias)
        connect(m, output.done, flipped(self.done))
        connect(m, weights.errors, output.weight_errors)
        connect(m, scales.errors, output.scale_errors)
        connect(m, flipped(self.o), writer.rows)
        connect(m, writer.write, flipped(self.write))
        m.d.comb += [
            front.input_row.eq(inputs.row),
            inputs.row_place.eq(front.input_place),
            front.output_row.eq(output.row),
            output.row_place.eq(front.output_place),
            front.done.eq(output.ended),
            output.read.eq(inputs.finished),
            output.written.eq(writer.written),
            inputs.written.eq(output.ended & busy.final & ~busy.skip),
            self.overflow.eq(writer.overflow),
        ]
        return m

    def _hand_out(self, m: Module, jobs: Any, users: dict[str, tuple[Any, Any]]) -> None:
        """Give every part its share of each job; of one that is skipped, only the output's."""
        skip = jobs.payload.output.skip
        queues = {}
        for name, (port, part) in users.items():
            width = len(Value.cast(part))
            m.submodules[f"{name}_jobs"] = queue = SyncFIFOBuffered(width=width, depth=JOBS)
            queues[name] = queue
            m.d.comb += [
                queue.w_data.eq(part),
                port.valid.eq(queue.r_rdy),
                Value.cast(port.payload).eq(queue.r_data),
                queue.r_en.eq(port.ready),
            ]
        m.d.comb += jobs.ready.eq(Cat(queue.w_rdy for queue in queues.values()).all())
        for name, queue in queues.items():
            wanted = 1 if name == "output" else ~skip
            m.d.comb += queue.w_en.eq(jobs.valid & jobs.ready & wanted)

    def _weights(self, m: Module) -> tuple[Any, Any, Any]:
        """Return the parts that read weights and scales and make tiles of them."""
        shape = self.shape
        m.submodules.weights = weights = MatmulFetch(
            shape,
            ports=shape.ports,
            beat=self.beat,
            pairing=shape.pairing,
            run=shape.chunk_beats,
        )
        m.submodules.scales = scales = MatmulFetch(
            shape,
            ports=1,
            beat=DDR_PORT.words,
            pairing=1,
            run=shape.chunk_groups * shape.scale_beats,
            row_beats=shape.scale_beats,
        )
        m.submodules.tiles = tiles = MatmulTiles(
            self.config,
            weight_rows=weights.rows,
            scale_rows=scales.rows,
            weight_bits=len(weights.row),
            scale_bits=len(scales.row),
        )
        for port in range(shape.ports):
            request = getattr(self, f"weight_request_{port}")
            connect(m, getattr(weights, f"request_{port}"), flipped(request))
            beats = getattr(self, f"weight_beats_{port}")
            connect(m, flipped(beats), getattr(weights, f"beats_{port}"))
        connect(m, scales.request_0, flipped(self.scale_request))
        connect(m, flipped(self.scale_beats), scales.beats_0)
        connect(m, tiles.w, flipped(self.w))
        for ring, name in ((weights, "weight"), (scales, "scale")):
            m.d.comb += [
                ring.place.eq(getattr(tiles, f"{name}_place")),
                ring.read_en.eq(tiles.read_en),
                ring.release.eq(tiles.release),
                getattr(tiles, f"{name}_row").eq(ring.row),
            ]
        m.d.comb += tiles.there.eq(weights.there & scales.there)
        return weights, scales, tiles
