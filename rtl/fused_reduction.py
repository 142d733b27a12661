"""Router logits beside the sum of squares: one pass over the residual stream serves both."""

from functools import cache
from typing import Any

from amaranth.hdl import Module, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hwroute.column_format import LANES
from hwroute.rtl.accumulation import SLOT_BITS, RowAccumulator, block_dot
from hwroute.rtl.aligner import BlockAligner
from hwroute.rtl.part import Part
from hwroute.rtl.pipeline import advance, delay
from hwroute.timing import ALIGNER_CYCLES, BLOCK_DOT_CYCLES

LOGITS = 2
"""Outputs of a router: execute and skip, in the order of its policy."""


def fused_tile_layout() -> data.StructLayout:
    """Return the shape of 64 elements of a row and of the router's weights, all FP16."""
    tile = data.ArrayLayout(16, LANES)
    return data.StructLayout(
        {
            "slot": SLOT_BITS,
            "first": 1,
            "last": 1,
            "x": tile,
            "weights": data.ArrayLayout(tile, LOGITS),
        }
    )


def statistics_layout() -> data.StructLayout:
    """Return the shape of what a row is reduced to: FP32 patterns."""
    return data.StructLayout(
        {"slot": SLOT_BITS, "squares": 32, "logits": data.ArrayLayout(32, LOGITS)}
    )


@cache
def _aligner() -> BlockAligner:
    return BlockAligner()


class FusedReduction(wiring.Component):
    """Reduce a row of x to its sum of squares and to the router's logits, in one pass.

    Each tile of x is aligned once, the weights to exponents of their own; three exact integer dot
    products are rounded once to FP32 each and added to those of the blocks before. The bits are
    those of `RowReduction`'s SQUARES and of FP16xFP16 columns. Latency
    `hwroute.timing.FUSED_CYCLES` from a row's last tile; a tile a cycle with rows in turn,
    one every ROW_PERIOD_CYCLES in a row that is alone (`RowAccumulator`).

    Members
    -------
    i
        Stream of `fused_tile_layout`; ``first`` begins a row, ``last`` ends it, rows in different
        slots may be interleaved.
    o
        Stream of `statistics_layout` in the order of the last tiles.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "i": In(stream.Signature(fused_tile_layout())),
                "o": Out(stream.Signature(statistics_layout())),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.accumulator = accumulator = RowAccumulator(1 + LOGITS)
        i, blocks, sums = self.i.payload, accumulator.i.payload, accumulator.o.payload
        latency = ALIGNER_CYCLES + BLOCK_DOT_CYCLES
        en, _ = advance(m, self.i, accumulator.i, latency)
        m.submodules.align_x = x = self._align(m, en, i.x)
        operands = [x]
        for index in range(LOGITS):
            weights = self._align(m, en, i.weights[index])
            m.submodules[f"align_weights_{index}"] = weights
            operands.append(weights)
        for index, operand in enumerate(operands):
            m.submodules[f"dot_{index}"] = dot = block_dot()
            m.d.comb += [
                dot.en.eq(en),
                dot.a.eq(x.aligned),
                dot.b.eq(operand.aligned),
                dot.exponent.eq(x.exponent + operand.exponent),
                blocks.values[index].eq(dot.o),
            ]
        for name in ("slot", "first", "last"):
            m.d.comb += blocks[name].eq(delay(m, en, i[name], latency, name))
        m.d.comb += [
            self.o.valid.eq(accumulator.o.valid),
            accumulator.o.ready.eq(self.o.ready),
            self.o.payload.slot.eq(sums.slot),
            self.o.payload.squares.eq(sums.values[0]),
        ]
        for index in range(LOGITS):
            m.d.comb += self.o.payload.logits[index].eq(sums.values[1 + index])
        return m

    def _align(self, m: Module, en: Value, lanes: Any) -> Any:
        aligner: Any = Part("hwroute_tile_aligner", _aligner())
        m.d.comb += [aligner.en.eq(en), aligner.lanes.eq(lanes)]
        return aligner
