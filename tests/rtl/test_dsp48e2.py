# amaranth: UnusedElaboratable=no
"""The DSP48E2 as the columns use it: both packings against plain products, over all operands."""

from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Const, Instance, Module, Signal, Value, signed
from amaranth.lib import stream, wiring
from amaranth.lib.data import StructLayout
from amaranth.lib.wiring import In, Out

from hwroute.errors import HwrouteError
from hwroute.paths import build_dir
from hwroute.rtl.aligned_column import pack, unpack
from hwroute.rtl.dsp48e2 import Addend, dsp48e2
from hwroute.rtl.overpacking import magnitude_of, multiply
from hwroute.rtl.pipeline import delay
from hwroute.sim.units import UnitSimulation
from hwroute.timing import DSP_CYCLES

VERDICT = StructLayout({"errors": 32, "checked": 32})
ROWS = 1025
"""Normalised significands, and zero."""


class Sweep(wiring.Component):
    """Feed lanes of a packing with every state of a counter and count the wrong products.

    `build(m, counter)` returns the number of states and a list of pairs (got, expected), both
    `DSP_CYCLES` late.
    """

    o: Out(stream.Signature(VERDICT))

    def __init__(self, states: int, build: Any):
        self.states = states
        self.build = build
        super().__init__()

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        counter, running = Signal(range(self.states)), Signal(init=1)
        with m.If(running):
            m.d.sync += counter.eq(counter + 1)
            with m.If(counter == self.states - 1):
                m.d.sync += running.eq(0)
        checks = self.build(m, counter)
        wrong = [got != expected for got, expected in checks]
        running_late = Signal(DSP_CYCLES)
        m.d.sync += running_late.eq((running_late << 1) | running)
        counts = running_late[-1]
        errors = sum(wrong[1:], Value.cast(wrong[0]))
        with m.If(counts):
            m.d.sync += [
                self.o.payload.errors.eq(self.o.payload.errors + errors),
                self.o.payload.checked.eq(self.o.payload.checked + len(checks)),
            ]
        ended = Signal()
        m.d.sync += ended.eq(counts & ~running)
        with m.If(ended & ~counts):
            m.d.sync += self.o.valid.eq(1)
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        return m


def verdict(states: int, build: Any, folder: Any) -> dict[str, int]:
    unit = UnitSimulation(Sweep(states, build), folder=build_dir())
    run = unit.run({}, {"o": 1}, folder=folder, max_cycles=states + 100)
    return {name: int(value[0]) for name, value in run.outputs["o"].items()}


def packed_int4(m: Module, counter: Signal) -> list[tuple[Value, Value]]:
    """Every aligned activation by every pair of INT4, one low weight a lane."""
    x, high = counter[:15].as_signed(), counter[15:19].as_signed()
    checks = []
    for weight in range(-8, 8):
        name = f"{weight + 8}"
        low = Const(weight, signed(4))
        a, d = pack(m, Const(0), (low, high), Const(0, 18), name)
        p, wide = Signal(48, name=f"p_{name}"), Signal(signed(18), name=f"b_{name}")
        m.d.comb += wide.eq(x)
        m.submodules[f"dsp_{name}"] = dsp48e2(a=a, b=Value.cast(wide), d=d, addend=Addend.NONE, p=p)
        for got, factor in zip(unpack(p), (low, high), strict=True):
            expected = delay(m, 1, x * factor, DSP_CYCLES, f"expected_{name}_{len(checks)}")
            checks.append((got, expected.as_signed()))
    return checks


def overpacked_fp16(which: int) -> Any:
    """Every significand of column `which` and of x; of the other column corners and random ones."""

    def build(m: Module, _: Signal) -> list[tuple[Value, Value]]:
        swept, w = Signal(range(ROWS)), Signal(range(ROWS))
        random = Signal(32, init=0x12345678)
        taps = random[31] ^ random[21] ^ random[1] ^ random[0]
        m.d.sync += random.eq((random << 1) | taps)
        m.d.sync += w.eq(w + 1)
        with m.If(w == ROWS - 1):
            m.d.sync += [w.eq(0), swept.eq(swept + 1)]
        others = [
            *(Const(value, 11) for value in (0, 1, 1023, 1024, 512)),
            *(random[start : start + 10] for start in (0, 10, 20)),
        ]
        checks = []
        for lane, other in enumerate(others):
            swapped = (swept, other) if which == 0 else (other, swept)
            pair = (half(swapped[0]), half(swapped[1]))
            p = multiply(m, half(w), pair, [Const(0, signed(4))] * 2, Const(1), f"{lane}")
            for column in (0, 1):
                product = (factor(swapped[column]) * factor(w)) >> 7
                expected = delay(m, 1, product, DSP_CYCLES, f"expected_{lane}_{column}")
                checks.append((magnitude_of(p, Const(1), column), expected))
        return checks

    return build


def overpacked_int4(m: Module, counter: Signal) -> list[tuple[Value, Value]]:
    """Every significand and sign of x by every pair of INT4, one low weight a lane."""
    high, negative, index = counter[:4].as_signed(), counter[4], counter[5:16]
    checks = []
    for weight in range(-8, 8):
        name = f"{weight + 8}"
        low = Const(weight, signed(4))
        x = half(index) | (negative << 15)
        p = multiply(m, x[:16], (Const(0, 16),) * 2, (low, high), Const(0), name)
        for column, weight_of in enumerate((low, high)):
            absolute = abs(weight_of) * factor(index)
            expected = delay(m, 1, absolute, DSP_CYCLES, f"expected_{name}_{column}")
            checks.append((magnitude_of(p, Const(0), column), expected))
    return checks


def half(index: Value) -> Value:
    """Return FP16 bits of exponent 1 for fractions 0..1023, zero above."""
    index = Value.cast(index)
    zero = index >> 10 != 0
    return (index[:10] | ((~zero) << 10))[:16]


def factor(index: Value) -> Value:
    """Return the significand of `half(index)`."""
    index = Value.cast(index)
    return (index[:10] | 1024) * (index >> 10 == 0)


@pytest.mark.cpp
def test_packed_int4_products_are_exact_for_every_operand(tmp_path):
    states = 1 << 19
    assert verdict(states, packed_int4, tmp_path) == {"errors": 0, "checked": 32 * states}


@pytest.mark.cpp
@pytest.mark.parametrize("column", [0, 1])
def test_overpacked_products_are_exact_for_every_pair_of_significands(column, tmp_path):
    states = ROWS * ROWS
    result = verdict(states, overpacked_fp16(column), tmp_path)
    assert result == {"errors": 0, "checked": 16 * states}


@pytest.mark.cpp
def test_overpacked_int4_products_are_exact_for_every_operand(tmp_path):
    states = 1 << 16
    result = verdict(states, overpacked_int4, tmp_path)
    assert result == {"errors": 0, "checked": 32 * states}


@pytest.mark.cpp
def test_a_sweep_reports_a_wrong_product(tmp_path):
    def build(m: Module, counter: Signal) -> list[tuple[Value, Value]]:
        checks = packed_int4(m, counter)
        return [(checks[0][0] + (counter == 5), checks[0][1])]

    assert verdict(1 << 16, build, tmp_path)["errors"] == 1


def test_the_two_products_of_an_overpacked_sum_never_overlap():
    """The argument of `hwroute.rtl.overpacking`, over all pairs of 11-bit numbers."""
    w = np.arange(2048)[None, :]
    for start in range(0, 2048, 256):
        u = np.arange(start, start + 256)[:, None]
        low = (u >> 1) * w + np.where(u & 1, w >> 1, 0)
        np.testing.assert_array_equal(low, (u * w) >> 1)
        assert low.min() >= 0
        assert low.max() < 1 << 21
        f = u & 0x3FF
        aux = ((f & 31) * (w & 31)) & 31
        high = ((aux - f * w) << 16) - (((u >> 10) * w) << 26)
        np.testing.assert_array_equal(high, -(((u * w) >> 5) << 21))
        np.testing.assert_array_equal(((u * w) >> 5 << 5) | aux, u * w)


class Unmodelled(wiring.Component):
    """A slice with one attribute or port that the simulation model does not know."""

    def __init__(self, changes: dict[str, Any]):
        self.changes = changes
        super().__init__({"i": In(stream.Signature(1)), "o": Out(stream.Signature(1))})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        operand = Signal(27)
        known = dsp48e2(
            a=operand, b=operand[:18], d=operand, addend=Addend.NONE, p=Signal(48, name="p")
        )
        ports = {f"i_{name}": value for name, (value, kind) in known.ports.items() if kind == "i"}
        ports |= {f"p_{name}": value for name, value in known.parameters.items()}
        m.submodules.dsp = Instance("DSP48E2", **(ports | self.changes))
        m.d.comb += [self.o.valid.eq(self.i.valid), self.i.ready.eq(self.o.ready)]
        m.d.comb += self.o.payload.eq(self.i.payload)
        return m


@pytest.mark.cpp
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"p_AREG": 1}, "data register attribute is not modelled"),
        ({"p_USE_SIMD": "TWO24"}, "data path attribute is not modelled"),
        ({"p_OPMODEREG": 1}, "control register attribute is not modelled"),
        ({"i_OPMODE": Const(0b000100101, 9)}, "OPMODE 000100101 is not modelled"),
        ({"i_CEP": Const(0, 1)}, "enables must be 1"),
    ],
)
def test_the_model_refuses_what_it_does_not_model(changes, message, tmp_path):
    unit = UnitSimulation(Unmodelled(changes), folder=build_dir())
    with pytest.raises(HwrouteError, match=message):
        unit.run({"i": np.zeros(4, int)}, {"o": 4}, folder=tmp_path)


def test_operands_of_a_wrong_width_are_refused():
    with pytest.raises(ValueError, match="Operand B must be 18 bits wide, not 17"):
        dsp48e2(a=Signal(27), b=Signal(17), d=Signal(27), addend=Addend.NONE, p=Signal(48))
