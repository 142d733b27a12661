"""Take K and V from memory into the tiles of the PE array."""

from typing import Any

from amaranth.hdl import Module, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.data import ArrayLayout, StructLayout, View
from amaranth.lib.wiring import In, Out

from hwroute.column_format import LANES
from hwroute.rtl.aligner import BlockAligner
from hwroute.rtl.column_ports import ColumnShape
from hwroute.rtl.part import Part
from hwroute.rtl.pipeline import delay
from hwroute.timing import ALIGNER_CYCLES


def kernel_payload(shape: ColumnShape) -> StructLayout:
    """Return a beat of K or V: vectors, which of both, and whether it closes its tile early."""
    return StructLayout(
        {"vectors": ArrayLayout(ArrayLayout(16, LANES), shape.vectors), "values": 1, "last": 1}
    )


class KernelLoader(wiring.Component):
    """Align vectors of K and V and say which columns and lanes of which tile they fill.

    A tile of K is one vector a column, a tile of V one vector a lane; ``last`` closes a tile that
    is not full. The other columns and lanes keep what they held: their scores mean nothing, and
    their probabilities must be zero. A beat takes one cycle, of V as many as a tile has parts.
    A vector is in its tile ``ALIGNER_CYCLES + 1`` cycles after its beat, 1 if nothing is aligned.

    Parameters
    ----------
    shape
        Of the array.

    Members
    -------
    kv
        Beats of `kernel_payload`.
    free
        A tile may be begun.
    begin, filled
        A tile was begun; a tile is complete.
    write, values, group, part
        Write, in this cycle, K to the columns or V to the lanes of the group; for V, the part of
        the dimensions.
    operands, exponents
        Elements to write, aligned or FP16, and the block exponents of the vectors.
    """

    def __init__(self, shape: ColumnShape):
        self.shape = shape
        operands = ArrayLayout(ArrayLayout(shape.operand_bits, LANES), shape.vectors)
        super().__init__(
            {
                "kv": In(stream.Signature(kernel_payload(shape))),
                "free": In(1),
                "begin": Out(1),
                "filled": Out(1),
                "write": Out(1),
                "values": Out(1),
                "group": Out(shape.group_bits),
                "part": Out(shape.part_bits),
                "operands": Out(operands),
                "exponents": Out(ArrayLayout(5, shape.vectors)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        payload = self.kv.payload
        group, pace = Signal(self.shape.group_bits), Signal(self.shape.part_bits)
        column_groups = self.shape.fp16_columns // self.shape.vectors
        ends = Signal()
        taken = Signal()
        m.d.comb += [
            self.kv.ready.eq((group.any() | self.free) & ~pace.any()),
            taken.eq(self.kv.valid & self.kv.ready),
            self.begin.eq(taken & ~group.any()),
            ends.eq(
                payload.last
                | (payload.values & (group == self.shape.groups - 1))
                | (~payload.values & (group == column_groups - 1))
            ),
        ]
        with m.If(taken):
            m.d.sync += group.eq(group + 1)
            with m.If(ends):
                m.d.sync += group.eq(0)
        with m.If(taken & payload.values):
            m.d.sync += pace.eq(self.shape.parts - 1)
        with m.Elif(pace.any()):
            m.d.sync += pace.eq(pace - 1)
        beat = StructLayout({"values": 1, "ends": 1, "group": self.shape.group_bits})
        at = Signal(beat)
        m.d.comb += [at.values.eq(payload.values), at.ends.eq(ends), at.group.eq(group)]
        self._write(m, *self._align(m, taken, at))
        return m

    def _align(self, m: Module, taken: Value, at: Any) -> tuple[Value, Any, list[Any], list[Any]]:
        """Return valid, beat, operands and exponents when the vectors are aligned."""
        vectors = list(self.kv.payload.vectors)
        if not self.shape.aligned:
            return taken, at, vectors, [0] * len(vectors)
        unit = BlockAligner()
        operands, exponents = [], []
        for index, vector in enumerate(vectors):
            aligner: Any = Part("hwroute_block_aligner", unit)
            m.submodules[f"aligner_{index}"] = aligner
            m.d.comb += [aligner.en.eq(1), aligner.lanes.eq(vector)]
            operands.append(aligner.aligned)
            exponents.append(aligner.exponent)
        valid = Signal(ALIGNER_CYCLES)
        m.d.sync += valid.eq((valid << 1) | taken)
        late = delay(m, 1, at, ALIGNER_CYCLES, "beat")
        return valid[-1], View(at.shape(), late), operands, exponents

    def _write(
        self, m: Module, valid: Value, at: Any, operands: list[Any], exponents: list[Any]
    ) -> None:
        """Hold the operands while they are written, a part a cycle."""
        ends = Signal()
        is_last_part = ~self.values | (self.part == self.shape.parts - 1)
        with m.If(valid):
            m.d.sync += [
                self.write.eq(1),
                self.values.eq(at.values),
                self.group.eq(at.group),
                ends.eq(at.ends),
                self.part.eq(0),
            ]
            for index, operand in enumerate(operands):
                m.d.sync += Value.cast(self.operands[index]).eq(Value.cast(operand))
                m.d.sync += self.exponents[index].eq(exponents[index])
        with m.Elif(self.write & ~is_last_part):
            m.d.sync += self.part.eq(self.part + 1)
        with m.Else():
            m.d.sync += self.write.eq(0)
        m.d.comb += self.filled.eq(self.write & ends & is_last_part)
