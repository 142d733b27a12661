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
REQUEST_QUEUE = 4
"""Requests of an operand that wait for a bank: how far one may lag behind another."""
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
        step = data.View(_KEPT, kept.r_data)
        reads = {"x": 1, "y": operands.reads_y, "z": operands.reads_z}
        there = kept.r_rdy & (self.statistic.valid | ~operands.reads_statistic)
        for output, (name, used) in zip(fork.outputs, reads.items(), strict=False):
            is_used = Value.cast(used)[0]
            needed = is_used if name == "x" else is_used & output.payload.group_first
            self._ask(m, name, output, needed)
            there = there & (getattr(self, name).response.valid | ~is_used)
        self._send(m, step, kept.r_en, there)
        return m

    def _ask(self, m: Module, name: str, step: Any, needed: Value) -> None:
        """Queue the request for an operand of a step.

        A port that lost its turn at a bank lags from then on: it does not collide again.
        """
        request = getattr(self, name).request
        m.submodules[f"{name}_queue"] = queue = SyncFIFOBuffered(
            width=READ.size, depth=REQUEST_QUEUE
        )
        m.d.comb += [
            queue.w_data.eq(step.payload[name]),
            queue.w_en.eq(step.valid & needed),
            step.ready.eq(queue.w_rdy | ~needed),
            request.payload.line.eq(queue.r_data),
            request.valid.eq(queue.r_rdy),
            queue.r_en.eq(request.ready),
        ]

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
            y.ready.eq(send & operands.reads_y & step.group_last),
            z.ready.eq(send & operands.reads_z & step.group_last),
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
