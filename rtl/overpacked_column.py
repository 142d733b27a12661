"""A pair of columns of the overpacked variant: two products a DSP48E2, aligned afterwards."""

from typing import Any

from amaranth.hdl import Module, Mux, Value
from amaranth.lib import wiring

from hwroute.column_format import LANES, OVERPACKED_SUM_BITS
from hwroute.rtl.aligner import largest
from hwroute.rtl.column_ports import (
    EXPONENT_BITS,
    ColumnShape,
    operand_memories,
    pair_members,
)
from hwroute.rtl.overpacking import magnitude_of, multiply
from hwroute.rtl.pipeline import adder_tree, delay, register
from hwroute.timing import DSP_CYCLES


class OverpackedColumnPair(wiring.Component):
    """Two columns of 64 lanes that align products to the largest exponent of the 64.

    A lane's two products share a DSP48E2 and x. Products that are zero contribute no exponent;
    magnitudes are truncated toward zero. Latency `hwroute.timing.OVERPACKED_COLUMN_CYCLES`, one
    beat a cycle; nothing stalls. Stages: (1) operands; (2) multiply; (3) P, beside it the largest
    exponent; (4) magnitudes; (5) shift, apply the sign; (6 to 8) add. A written tile can be read
    in the next cycle.

    Parameters
    ----------
    shape
        Of the array.

    Members
    -------
    weights_write, weights_row, weights
        Write a tile of INT4 weights of the two columns.
    kernel_write, kernel_row, kernel_values, kernel_vector, kernel_elements
        Write, by column, a vector of K to all lanes, or elements of V to the lanes of the groups
        set in ``kernel_write``.
    x
        FP16 lanes.
    read
        What they read: one entry.
    finish
        In the cycle before the sums leave; only ``power`` is used: what the largest exponent is to
        be added to.
    sum0, power0, sum1, power1
        Sums of the two columns and their powers of two.
    """

    def __init__(self, shape: ColumnShape):
        self.shape = shape
        super().__init__(pair_members(shape, (OVERPACKED_SUM_BITS, OVERPACKED_SUM_BITS)))

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        lanes = list(range(LANES))
        read: Any = self.read[0]
        operands = operand_memories(m, self, lanes, read)
        weights, fp16 = operands.weights, read.fp16
        products, signs, exponents = [], [], []
        for lane in lanes:
            x, pair = self.x[lane], (operands.elements[0][lane], operands.elements[1][lane])
            products.append(multiply(m, x, pair, weights[lane], fp16, str(lane)))
            for column, (y, weight) in enumerate(zip(pair, weights[lane], strict=True)):
                normal = x[10:15].any() & Mux(fp16, y[10:15].any(), weight.any())
                power = x[10:15] + Mux(fp16, y[10:15], 0)
                name = f"{column}_{lane}"
                signs.append(register(m, 1, x[15] ^ Mux(fp16, y[15], weight[3]), f"sign_{name}"))
                exponents.append(register(m, 1, Mux(normal, power, 0), f"exponent_{name}"))
        late_fp16 = delay(m, 1, fp16, DSP_CYCLES, "fp16")
        for column in (0, 1):
            magnitudes = [magnitude_of(p, late_fp16, column) for p in products]
            self._reduce(m, magnitudes, signs[column::2], exponents[column::2], column)
        return m

    def _reduce(
        self, m: Module, magnitudes: list[Value], signs: list[Value], exponents: Any, column: int
    ) -> None:
        """Align the products of a column, which leave stage 3, and add them."""
        groups = [
            register(m, 1, largest(exponents[start : start + 8]), f"largest_{column}_{start}")
            for start in range(0, LANES, 8)
        ]
        top = register(m, 1, largest(groups), f"largest_{column}")
        aligned = []
        for lane, magnitude in enumerate(magnitudes):
            name = f"{column}_{lane}"
            exponent = delay(m, 1, exponents[lane], 2, f"late_exponent_{name}")
            distance = (top - exponent)[:6]
            shift = register(m, 1, Mux(distance > 15, 15, distance)[:4], f"shift_{name}")
            held = register(m, 1, magnitude, f"magnitude_{name}")
            negative = delay(m, 1, signs[lane], 3, f"negative_{name}")
            shifted = held >> shift
            aligned.append(register(m, 1, Mux(negative, -shifted, shifted), f"aligned_{name}"))
        total, cycles = adder_tree(m, 1, aligned, f"sum_{column}")
        last = delay(m, 1, top, cycles + 1, f"power_{column}")
        power = (last + self.finish.power)[:EXPONENT_BITS].as_signed()
        m.d.comb += [
            getattr(self, f"sum{column}").eq(total),
            getattr(self, f"power{column}").eq(register(m, 1, power, f"power_out_{column}")),
        ]
