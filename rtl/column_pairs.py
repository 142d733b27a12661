"""All column pairs of the PE array, and which columns and lanes a beat of tiles writes."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Value
from amaranth.lib import wiring
from amaranth.lib.data import ArrayLayout
from amaranth.lib.wiring import In, Out

from hwroute.column_format import FP16_SUM_BITS, INT4_SUM_BITS, LANES, OVERPACKED_SUM_BITS
from hwroute.config import Config
from hwroute.rtl.accumulator import PairAccumulator, control_layout
from hwroute.rtl.aligned_column import AlignedColumnPair
from hwroute.rtl.array_layouts import w_payload
from hwroute.rtl.column_ports import ColumnShape, finish_layout, read_layout, x_layout
from hwroute.rtl.overpacked_column import OverpackedColumnPair
from hwroute.rtl.part import Part

SHARED = ("x", "read", "finish")
CONTROLS = ("at_sum", "at_scale", "at_add", "at_write")


class ColumnPairs(wiring.Component):
    """Every column pair with its accumulators, each of the two emitted once.

    Parameters
    ----------
    config
        Of the array.

    Members
    -------
    weights_write, weights_row, weights
        Write a tile of `w_payload`.
    kernel_write, kernel_values, kernel_group, kernel_part, kernel_tile, operands, exponents
        Write what `hwroute.rtl.kernel_loader.KernelLoader` gives.
    x, read, finish, at_sum, at_scale, at_add, at_write
        To every pair alike: see the column pairs and `PairAccumulator`.
    rows
        FP32 partial sums, by column, of the beat ``at_write``.
    """

    def __init__(self, config: Config):
        self.config = config
        self.shape = shape = ColumnShape.of(config)
        bits = shape.operand_bits
        control = control_layout(config.array.accumulator_rows)
        super().__init__(
            {
                "weights_write": In(1),
                "weights_row": In(5),
                "weights": In(w_payload(config)),
                "kernel_write": In(1),
                "kernel_values": In(1),
                "kernel_group": In(shape.group_bits),
                "kernel_part": In(shape.part_bits),
                "kernel_tile": In(range(shape.tiles)),
                "operands": In(ArrayLayout(ArrayLayout(bits, LANES), shape.vectors)),
                "exponents": In(ArrayLayout(5, shape.vectors)),
                "x": In(x_layout(shape)),
                "read": In(ArrayLayout(read_layout(shape), shape.reads)),
                "finish": In(finish_layout(shape)),
                **{name: In(control) for name in CONTROLS},
                "rows": Out(ArrayLayout(32, config.array.columns)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        shape, aligned = self.shape, self.shape.aligned
        column: Any = AlignedColumnPair(shape) if aligned else OverpackedColumnPair(shape)
        bits = (FP16_SUM_BITS, INT4_SUM_BITS) if aligned else (OVERPACKED_SUM_BITS,) * 2
        rows = self.config.array.accumulator_rows
        accumulator = PairAccumulator(rows=rows, bits=bits, integer=aligned)
        for index in range(shape.pairs):
            pair: Any = Part("hwroute_column_pair", column)
            sums: Any = Part("hwroute_pair_accumulator", accumulator)
            m.submodules[f"pair_{index}"] = pair
            m.submodules[f"accumulator_{index}"] = sums
            self._write_tiles(m, pair, sums, index)
            if aligned:
                m.d.comb += pair.kernel_exponent.eq(self.exponents[index % shape.vectors])
            m.d.comb += [getattr(pair, name).eq(getattr(self, name)) for name in SHARED]
            m.d.comb += [getattr(sums, name).eq(getattr(self, name)) for name in CONTROLS]
            for output in (0, 1):
                m.d.comb += [
                    getattr(sums, f"{name}{output}").eq(getattr(pair, f"{name}{output}"))
                    for name in ("sum", "power")
                ]
                row = self.rows[index + output * shape.pairs]
                m.d.comb += row.eq(getattr(sums, f"o{output}"))
        return m

    def _write_tiles(self, m: Module, pair: Any, sums: Any, index: int) -> None:
        """Connect the ports through which tiles reach a pair."""
        shape = self.shape
        columns = [index, index + shape.pairs]
        m.d.comb += [
            pair.weights_write.eq(self.weights_write),
            pair.weights_row.eq(self.weights_row),
            sums.scales_write.eq(self.weights_write),
            sums.scales_row.eq(self.weights_row),
            sums.scales.eq(Cat(self.weights.scales[column] for column in columns)),
            pair.kernel_row.eq(shape.address(self.kernel_tile, self.kernel_part)),
            pair.kernel_values.eq(self.kernel_values),
            Value.cast(pair.kernel_vector).eq(Value.cast(self.operands[index % shape.vectors])),
        ]
        for output, column in enumerate(columns):
            weights = Value.cast(self.weights.weights[column])
            m.d.comb += Value.cast(pair.weights[output]).eq(weights)
        for output, column in enumerate(columns[: shape.outputs]):
            is_mine = self.kernel_group == column // shape.vectors
            vector_lanes = is_mine.replicate(shape.groups)
            value_lanes = (1 << self.kernel_group)[: shape.groups] if column < LANES else 0
            lanes = Mux(self.kernel_values, value_lanes, vector_lanes)
            m.d.comb += Value.cast(pair.kernel_write[output]).eq(Mux(self.kernel_write, lanes, 0))
            for vector in range(shape.vectors):
                m.d.comb += pair.kernel_elements[output][vector].eq(self._element(vector, column))

    def _element(self, vector: int, column: int) -> Value:
        """Return the element of a vector of V that belongs to a column, by part."""
        shape = self.shape
        dims = [part * shape.fp16_columns + column for part in range(shape.parts)]
        elements = [Value.cast(self.operands[vector][dim % LANES]) for dim in dims]
        if len(elements) == 1:
            return elements[0]
        return Cat(elements).word_select(self.kernel_part, shape.operand_bits)
