"""The element-wise operations of the vector unit, line by line."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hwroute.column_format import LANES
from hwroute.config import Rounding
from hwroute.rtl.argmax import TOKEN_LAYOUT, Argmax
from hwroute.rtl.line_packer import LinePacker
from hwroute.rtl.pipeline import advance, delay
from hwroute.rtl.row_scale import RowScale
from hwroute.rtl.vector_layouts import (
    FLOAT_WORDS,
    VectorOperation,
    line_layout,
    vector_layout,
)
from hwroute.rtl.vector_pair import STEPS, vector_pair
from hwroute.timing import FLOAT_MULTIPLY_CYCLES, VECTOR_FACTORS_CYCLES, VECTOR_PAIR_CYCLES


class VectorLanes(wiring.Component):
    """Compute all element-wise operations but ARGMAX, one line a cycle in any order of operations.

    All have one latency, `hwroute.timing.VECTOR_CYCLES`. NORMALISE, ROTATE and RESIDUAL give a line
    for a line; SWIGLU and DIVIDE half a line, which `LinePacker` puts together, so one line in two
    cycles. FP32 steps round to nearest even; the result is rounded to FP16 once, as the
    configuration says, and saturates to the largest value.

    Parameters
    ----------
    rounding
        Of the conversion to FP16.
    lanes
        FP16 elements of a line.

    Members
    -------
    i
        Stream of `hwroute.rtl.vector_layouts.vector_layout`.
    o
        Stream of `hwroute.rtl.vector_layouts.line_layout`.
    """

    def __init__(self, rounding: Rounding, *, lanes: int = LANES):
        self.rounding = rounding
        self.lanes = lanes
        super().__init__(
            {
                "i": In(stream.Signature(vector_layout(lanes))),
                "o": Out(stream.Signature(line_layout(lanes))),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.packer = packer = LinePacker(self.lanes)
        connect(m, packer.o, flipped(self.o))
        i, chunk = self.i.payload, packer.i.payload
        en, _ = advance(m, self.i, packer.i, VECTOR_PAIR_CYCLES)
        results = self._compute(m, en)

        kept = {name: i[name] for name in ("operation", "first", "last", "offset", "count")}
        late: dict[str, Any] = {
            name: delay(m, en, value, VECTOR_PAIR_CYCLES, name) for name, value in kept.items()
        }
        is_swiglu = late["operation"] == VectorOperation.SWIGLU
        is_divide = late["operation"] == VectorOperation.DIVIDE
        half = self.lanes // FLOAT_WORDS
        counted = Mux(is_divide, late["count"], Mux(is_swiglu, half, self.lanes))
        m.d.comb += [
            chunk.whole.eq(~is_swiglu & ~is_divide),
            chunk.count.eq(counted),
            *(chunk[name].eq(late[name]) for name in ("first", "last", "offset")),
        ]
        for lane, result in enumerate(results):
            packed = None
            if lane < half:
                # A SwiGLU is in the odd lane of its pair, a quotient in the even one.
                packed = Mux(is_swiglu, results[2 * lane + 1], results[2 * lane])
            chosen = result if packed is None else Mux(chunk.whole, result, packed)
            m.d.comb += Value.cast(chunk.results[lane]).eq(chosen)
        return m

    def _compute(self, m: Module, en: Value) -> list[Value]:
        """Return the `hwroute.rtl.vector_layouts.HALF_RESULT` of every lane."""
        i = self.i.payload
        m.submodules.scale = scale = RowScale()
        m.d.comb += scale.en.eq(en)
        for name in ("operation", "statistic", "inverse", "epsilon"):
            m.d.comb += getattr(scale, name).eq(i[name])
        spare = VECTOR_FACTORS_CYCLES - scale.LATENCY
        scales = [delay(m, en, scale.o, spare, "scale")]
        scales.append(delay(m, en, scales[0], FLOAT_MULTIPLY_CYCLES, "scale_late"))
        operations = [delay(m, en, i.operation, VECTOR_FACTORS_CYCLES, "operation_0")]
        for step in range(1, STEPS):
            later = delay(m, en, operations[-1], FLOAT_MULTIPLY_CYCLES, f"operation_{step}")
            operations.append(later)
        results: list[Value] = []
        for lane in range(0, self.lanes, 2):
            m.submodules[f"pair_{lane // 2}"] = part = vector_pair(self.rounding)
            pair: Any = part
            m.d.comb += [
                pair.en.eq(en),
                *(pair.x[side].eq(i.x[lane + side]) for side in (0, 1)),
                *(pair.y[side].eq(i.y[lane + side]) for side in (0, 1)),
                Value.cast(pair.operation).eq(Cat(operations)),
                Value.cast(pair.scale).eq(Cat(scales)),
            ]
            results += [Value.cast(pair.o[side]) for side in (0, 1)]
        return results


class NPE(wiring.Component):
    """Run the element-wise operations of the vector unit on lines.

    `VectorLanes` and, for ARGMAX, `Argmax` behind one stream: a line a cycle. Results of ARGMAX may
    overtake lines before them.

    Parameters
    ----------
    rounding
        Of the conversion to FP16, from the numerics of the configuration.
    lanes
        FP16 elements of a line, a power of two from 4 to 128.

    Members
    -------
    i
        Stream of `hwroute.rtl.vector_layouts.vector_layout`.
    o
        Stream of `hwroute.rtl.vector_layouts.line_layout`.
    token
        Stream of `hwroute.rtl.argmax.TOKEN_LAYOUT`, one for each ``last`` line of ARGMAX.

    Raises
    ------
    ValueError
        The number of lanes is none of these.
    """

    def __init__(self, rounding: Rounding, *, lanes: int = LANES):
        if lanes not in (4, 8, 16, 32, 64, 128):
            raise ValueError(f"Lanes must be a power of two from 4 to 128, not {lanes!r}")
        self.rounding = rounding
        self.lanes = lanes
        super().__init__(
            {
                "i": In(stream.Signature(vector_layout(lanes))),
                "o": Out(stream.Signature(line_layout(lanes))),
                "token": Out(stream.Signature(TOKEN_LAYOUT)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.vector = vector = VectorLanes(self.rounding, lanes=self.lanes)
        m.submodules.argmax = argmax = Argmax(self.lanes // FLOAT_WORDS)
        connect(m, vector.o, flipped(self.o))
        connect(m, argmax.o, flipped(self.token))
        i, logits = self.i.payload, argmax.i.payload
        is_argmax = i.operation == VectorOperation.ARGMAX
        m.d.comb += [
            vector.i.payload.eq(i),
            vector.i.valid.eq(self.i.valid & ~is_argmax),
            argmax.i.valid.eq(self.i.valid & is_argmax),
            self.i.ready.eq(Mux(is_argmax, argmax.i.ready, vector.i.ready)),
            *(logits[name].eq(i[name]) for name in ("first", "last", "count", "base")),
            Value.cast(logits.logits).eq(Value.cast(i.x)),
        ]
        return m
