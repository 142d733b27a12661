"""Exact dot products of aligned blocks, and their accumulation in FP32 over a row."""

from functools import cache
from typing import Any

from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hwroute.column_format import FP16_POINT, FP16_SUM_BITS, LANES
from hwroute.rtl.aligner import ALIGNED_BITS
from hwroute.rtl.float32 import FloatAdd
from hwroute.rtl.float_convert import FixedToFloat
from hwroute.rtl.part import Part
from hwroute.rtl.pipeline import adder_tree, delay, register
from hwroute.timing import BLOCK_DOT_CYCLES, ROW_PERIOD_CYCLES, ROW_SLOTS

SLOT_BITS = (ROW_SLOTS - 1).bit_length()

BLOCK_LAYOUT = data.ArrayLayout(signed(ALIGNED_BITS), LANES)
"""A block as `hwroute.rtl.aligner.BlockAligner` gives it: 17-bit magnitudes."""


class BlockDot(wiring.Component):
    """Add the 64 products of two aligned blocks exactly and round once to FP32. One block a cycle.

    Stages: (1, 2) products, two registers for the multiplier blocks to take in; (3, 4, 5) tree of
    adders; then those of `FixedToFloat`.

    Members
    -------
    en
        Move one stage.
    a, b
        `BLOCK_LAYOUT`.
    exponent
        Sum of the two blocks' biased exponents.
    o
        FP32, `LATENCY` enabled cycles later.
    """

    LATENCY = BLOCK_DOT_CYCLES

    def __init__(self) -> None:
        members = {"en": In(1), "a": In(BLOCK_LAYOUT), "b": In(BLOCK_LAYOUT), "exponent": In(6)}
        super().__init__(members | {"o": Out(32)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.round = convert = FixedToFloat(FP16_SUM_BITS)
        products = [
            delay(m, self.en, self.a[lane] * self.b[lane], 2, f"product_{lane}")
            for lane in range(LANES)
        ]
        total, cycles = adder_tree(m, self.en, products, "total")
        exponent = delay(m, self.en, self.exponent - 2 * FP16_POINT, 2 + cycles, "exponent")
        m.d.comb += [
            convert.en.eq(self.en),
            convert.value.eq(total),
            convert.exponent.eq(exponent),
            self.o.eq(convert.o),
        ]
        return m


@cache
def _block_dot() -> BlockDot:
    return BlockDot()


def block_dot() -> Part:
    """Return one more placement of `BlockDot`, which is one module in all Verilog."""
    return Part("hwroute_block_dot", _block_dot())


def blocks_layout(count: int) -> data.StructLayout:
    """Return the shape of `count` FP32 values of one block of a row."""
    values = data.ArrayLayout(32, count)
    return data.StructLayout({"slot": SLOT_BITS, "first": 1, "last": 1, "values": values})


def sums_layout(count: int) -> data.StructLayout:
    """Return the shape of `count` FP32 sums over a row."""
    return data.StructLayout({"slot": SLOT_BITS, "values": data.ArrayLayout(32, count)})


class RowAccumulator(wiring.Component):
    """Add the blocks of a row in order in FP32, rounding to nearest even after each addition.

    Latency `hwroute.timing.FLOAT_ADD_CYCLES` from a row's last block to its sums. Up to ROW_SLOTS
    rows can be open at a time, each in a slot of its own: a block waits until the one before it in
    its slot is added, so one row alone takes a block every ROW_PERIOD_CYCLES, and as many rows in
    turn one every cycle. Sums leave in the order of the last blocks.

    Parameters
    ----------
    count
        Values a block that are accumulated side by side.

    Members
    -------
    i
        Stream of `blocks_layout`; ``first`` begins a row, ``last`` ends it.
    o
        Stream of `sums_layout`.

    Raises
    ------
    ValueError
        There is no value.
    """

    def __init__(self, count: int):
        if count < 1:
            raise ValueError(f"Count must be at least 1, not {count!r}")
        self.count = count
        super().__init__(
            {
                "i": In(stream.Signature(blocks_layout(count))),
                "o": Out(stream.Signature(sums_layout(count))),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        en, ending, busy = Signal(), Signal(), Signal(ROW_SLOTS)
        accepted = self.i.valid & self.i.ready
        # What is in each stage of the adders: valid, slot, last.
        entering = Cat(accepted, self.i.payload.slot, self.i.payload.last)
        stages = Signal(ROW_PERIOD_CYCLES * len(entering))
        with m.If(en):
            m.d.sync += stages.eq(Cat(entering, stages))
        ended = stages[-len(entering) :]
        valid, slot, last = ended[0], ended[1:-1], ended[-1]
        m.d.comb += [
            self.o.valid.eq(valid & last),
            self.o.payload.slot.eq(slot),
            en.eq(~self.o.valid | self.o.ready),
            ending.eq(en & valid),
        ]
        returns = ending & (slot == self.i.payload.slot)
        waits = busy.bit_select(self.i.payload.slot, 1) & ~returns
        m.d.comb += self.i.ready.eq(en & ~waits)
        with m.If(ending):
            m.d.sync += busy.bit_select(slot, 1).eq(0)
        with m.If(accepted):
            m.d.sync += busy.bit_select(self.i.payload.slot, 1).eq(1)
        for index in range(self.count):
            m.submodules[f"add_{index}"] = add = FloatAdd()
            held = self._hold(m, ending, slot, add.o, index)
            before = Mux(returns, add.o, held[self.i.payload.slot])
            m.d.comb += [
                add.en.eq(en),
                add.a.eq(Mux(self.i.payload.first, 0, before)),
                add.b.eq(self.i.payload.values[index]),
                self.o.payload.values[index].eq(add.o),
            ]
        return m

    def _hold(self, m: Module, ending: Value, slot: Value, total: Value, index: int) -> Array:
        """Keep the totals of all slots."""
        return Array(
            register(m, ending & (slot == number), total, f"total_{index}_{number}")
            for number in range(ROW_SLOTS)
        )
