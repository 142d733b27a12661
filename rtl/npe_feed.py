"""Read the operands of lines and give them to the vector datapath."""

from typing import Any

from amaranth.hdl import Module, Mux, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out, connect, flipped

from hwroute.column_format import LANES
from hwroute.rtl.fused_reduction import fused_tile_layout
from hwroute.rtl.npe_operands import OPERANDS
from hwroute.rtl.npe_steps import STEP
from hwroute.rtl.scratchpad_layouts import READ, ReadPort
from hwroute.rtl.statistics_layouts import STATISTIC
from hwroute.rtl.streams import Fork, SkidBuffer
from hwroute.rtl.vector_layouts import VectorOperation, vector_layout
from hwroute.timing import SCRATCHPAD_QUEUE_LINES

OPERAND_NAMES = ("x", "y", "z")
_KEPT = data.StructLayout({name: field.shape for name, field in STEP if name not in OPERAND_NAMES})
"""What of a step goes around the scratchpad."""


class LineFeed(wiring.Component):
    """Ask for the lines of steps, and send them on when all of a step are there.

    Members
    -------
    operands
        `hwroute.rtl.npe_operands.OPERANDS`, stable while there are steps.
    i
        Stream of `hwroute.rtl.npe_steps.STEP`.
    x, y, z
        `hwroute.rtl.scratchpad_layouts.ReadPort`.
    statistic
        Stream of `hwroute.rtl.statistics_layouts.STATISTIC`: one for each head.
    lines
        Stream of `hwroute.rtl.vector_layouts.vector_layout`: what is not reduced.
    tiles
        Stream of `hwroute.rtl.fused_reduction.fused_tile_layout`.
    row_ends
        The last line of a row leaves in this cycle.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "operands": In(OPERANDS),
                "i": In(stream.Signature(STEP)),
                **{name: Out(ReadPort()) for name in OPERAND_NAMES},
                "statistic": In(stream.Signature(STATISTIC)),
                "lines": Out(stream.Signature(vector_layout(LANES))),
                "tiles": Out(stream.Signature(fused_tile_layout())),
                "row_ends": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        operands = self.operands
        m.submodules.skid = skid = SkidBuffer(STEP)
        m.submodules.fork = fork = Fork(STEP, ways=1 + len(OPERAND_NAMES))
        m.submodules.kept = kept = SyncFIFOBuffered(
            width=_KEPT.size, depth=2 * SCRATCHPAD_QUEUE_LINES
        )
        connect(m, flipped(self.i), skid.i)
        connect(m, skid.o, fork.i)
        around = fork.outputs[-1]
        m.d.comb += [
            kept.w_en.eq(around.valid),
            around.ready.eq(kept.w_rdy),
            *(data.View(_KEPT, kept.w_data)[name].eq(around.payload[name]) for name, _ in _KEPT),
        ]
        wanted = {"x": 1, "y": operands.reads_y, "z": operands.reads_z}
        there = kept.r_rdy & (self.statistic.valid | ~operands.reads_statistic)
        for output, (name, wants) in zip(fork.outputs, wanted.items(), strict=False):
            port = getattr(self, name)
            needed = Value.cast(wants)[0]
            # A port that lost its turn at a bank lags from then on: it does not collide again.
            m.submodules[f"{name}_skid"] = lag = SkidBuffer(READ)
            connect(m, lag.o, flipped(port.request))
            m.d.comb += [
                lag.i.payload.line.eq(output.payload[name]),
                lag.i.valid.eq(output.valid & needed),
                output.ready.eq(lag.i.ready | ~needed),
            ]
            there = there & (port.response.valid | ~needed)
        self._send(m, data.View(_KEPT, kept.r_data), kept.r_en, there)
        return m

    def _send(self, m: Module, step: Any, send: Value, there: Value) -> None:
        """Put a step together for the datapath that takes it, and take its parts."""
        operands, line, tile = self.operands, self.lines.payload, self.tiles.payload
        is_argmax = operands.operation == VectorOperation.ARGMAX
        x, y, z = (getattr(self, name).response for name in OPERAND_NAMES)
        m.d.comb += [
            self.lines.valid.eq(there & ~operands.reduces),
            self.tiles.valid.eq(there & operands.reduces),
            send.eq(there & Mux(operands.reduces, self.tiles.ready, self.lines.ready)),
            x.ready.eq(send),
            y.ready.eq(send & operands.reads_y),
            z.ready.eq(send & operands.reads_z),
            self.statistic.ready.eq(send & operands.reads_statistic & step.head_end),
            self.row_ends.eq(send & step.last),
            line.first.eq(step.first & (operands.first | ~is_argmax)),
            line.last.eq(step.last & (operands.last | ~is_argmax)),
            line.count.eq(step.count),
            line.base.eq(step.base),
            line.statistic.eq(self.statistic.payload.value),
            *(
                line[name].eq(operands[name])
                for name in ("operation", "offset", "inverse", "epsilon")
            ),
            line.x.eq(x.payload),
            line.y.eq(y.payload),
            *(tile[name].eq(step[name]) for name in ("slot", "first", "last")),
            tile.x.eq(x.payload),
            tile.weights[0].eq(y.payload),
            tile.weights[1].eq(z.payload),
        ]
