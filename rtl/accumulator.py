"""From the sums of a column pair to FP32 rows of partial sums."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import memory, wiring
from amaranth.lib.data import StructLayout
from amaranth.lib.wiring import In, Out

from hwroute.column_format import VALUES_SUM_BITS
from hwroute.rtl.column_ports import EXPONENT_BITS, WEIGHT_ROWS
from hwroute.rtl.float32 import FloatAdd, FloatMultiply
from hwroute.rtl.float_convert import FixedToFloat
from hwroute.rtl.pipeline import register

HALF_ONE = 0x3C00
"""1.0 as FP16."""


def control_layout(rows: int) -> StructLayout:
    """Return what the accumulators know of a beat, for `rows` accumulator rows.

    ``integer``: probabilities times values, added as integers before the conversion; ``fp16``: no
    scale; ``weights``: where the scale is.
    """
    return StructLayout(
        {
            "valid": 1,
            "integer": 1,
            "fp16": 1,
            "first": 1,
            "slot": (rows - 1).bit_length(),
            "weights": 5,
        }
    )


class PairAccumulator(wiring.Component):
    """Convert a pair's sums to FP32, scale and accumulate them.

    Each column: add integers (``integer`` beats of column 0 only), convert the sum (rounding once),
    multiply by the scale, add to the row, all FP32 rounded to nearest even. Latency
    ``ARRAY_INTEGER_CYCLES + FIXED_TO_FLOAT_CYCLES + FLOAT_MULTIPLY_CYCLES + FLOAT_ADD_CYCLES`` of
    `hwroute.timing`, one beat a cycle; nothing stalls. A row that is added to twice needs
    `hwroute.timing.ARRAY_BEAT_DISTANCE` cycles between; rows of integers need none.

    Parameters
    ----------
    rows
        Accumulator rows.
    bits
        Widths of the two sums.
    integer
        Column 0 also has rows of integers.

    Members
    -------
    scales_write, scales_row, scales
        Write the FP16 scales of a tile of weights.
    sum0, power0, sum1, power1
        Sums and their powers of two.
    at_sum, at_scale, at_add, at_write
        The beat that enters the integer accumulation, the multiplication and the addition, and the
        one that leaves it.
    o0, o1
        FP32 partial sums of the beat ``at_write``.
    """

    def __init__(self, *, rows: int, bits: tuple[int, int], integer: bool):
        self.rows = rows
        self.bits = bits
        self.integer = integer
        control = control_layout(rows)
        members: dict[str, Any] = {"scales_write": In(1), "scales_row": In(5), "scales": In(32)}
        for column, width in enumerate(bits):
            members[f"sum{column}"] = In(signed(width))
            members[f"power{column}"] = In(signed(EXPONENT_BITS))
            members[f"o{column}"] = Out(32)
        members |= {name: In(control) for name in ("at_sum", "at_scale", "at_add", "at_write")}
        super().__init__(members)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        scales = memory.Memory(shape=32, depth=WEIGHT_ROWS, init=[])
        m.submodules.scales = scales
        write, read = scales.write_port(), scales.read_port(domain="comb")
        m.d.comb += [
            write.en.eq(self.scales_write),
            write.addr.eq(self.scales_row),
            write.data.eq(self.scales),
            read.addr.eq(self.at_scale.weights),
        ]
        products = []
        for column in (0, 1):
            width = self.bits[column]
            total: Value = getattr(self, f"sum{column}")
            if self.integer and column == 0:
                total = self._add_integers(m, total)
                width = VALUES_SUM_BITS
            convert = FixedToFloat(width, exponent_bits=EXPONENT_BITS)
            multiply = FloatMultiply(half=True)
            m.submodules[f"convert_{column}"] = convert
            m.submodules[f"multiply_{column}"] = multiply
            power = getattr(self, f"power{column}")
            scale = read.data[16 * column : 16 * (column + 1)]
            m.d.comb += [
                convert.en.eq(1),
                convert.value.eq(register(m, 1, total, f"total_{column}")),
                convert.exponent.eq(register(m, 1, power, f"power_{column}")),
                multiply.en.eq(1),
                multiply.a.eq(convert.o),
                multiply.b.eq(Mux(self.at_scale.fp16, HALF_ONE, scale)),
            ]
            products.append(multiply.o)
        self._add(m, products)
        return m

    def _add_integers(self, m: Module, total: Value) -> Value:
        """Return the sum, or the row of integers with it added."""
        rows = memory.Memory(shape=VALUES_SUM_BITS, depth=self.rows, init=[])
        m.submodules.integers = rows
        write, read = rows.write_port(), rows.read_port(domain="comb")
        at = self.at_sum
        added = Signal(signed(VALUES_SUM_BITS))
        m.d.comb += [
            read.addr.eq(at.slot),
            added.eq(total + Mux(at.first | ~at.integer, 0, read.data.as_signed())),
            write.addr.eq(at.slot),
            write.data.eq(added),
            write.en.eq(at.valid & at.integer),
        ]
        return added

    def _add(self, m: Module, products: list[Value]) -> None:
        rows = memory.Memory(shape=64, depth=self.rows, init=[])
        m.submodules.rows = rows
        write, read = rows.write_port(), rows.read_port(domain="comb")
        fresh = self.at_add.first | self.at_add.integer
        for column, product in enumerate(products):
            add = FloatAdd()
            m.submodules[f"add_{column}"] = add
            row = read.data[32 * column : 32 * (column + 1)]
            m.d.comb += [
                add.en.eq(1),
                add.a.eq(product),
                add.b.eq(Mux(fresh, Const(0, 32), row)),
                getattr(self, f"o{column}").eq(add.o),
            ]
        m.d.comb += [
            read.addr.eq(self.at_add.slot),
            write.addr.eq(self.at_write.slot),
            write.data.eq(Cat(self.o0, self.o1)),
            write.en.eq(self.at_write.valid & ~self.at_write.integer),
        ]
