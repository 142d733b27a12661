# amaranth: UnusedElaboratable=no
"""The float units against NumPy's float32, which is correctly rounded by definition."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Module, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hwroute.config import Rounding
from hwroute.numerics import fixed_to_fp32, flush_fp16, fp16_to_fp32, fp32_to_fp16
from hwroute.paths import build_dir
from hwroute.rtl.emit import emit
from hwroute.rtl.float32 import FloatAdd, FloatMultiply
from hwroute.rtl.float_convert import FixedToFloat, FloatCompare, FloatToHalf, half_to_float
from hwroute.rtl.pipeline import advance, delay
from hwroute.sim.units import UnitSimulation
from hwroute.timing import FLOAT_ADD_CYCLES

LARGEST = 0x7F7FFFFF
WIDTHS = (18, 41, 64)
DEPTH = FLOAT_ADD_CYCLES
"""Cycles of the longest unit; the others are delayed to it."""

OPERANDS = data.StructLayout(
    {"a": 32, "b": 32, "half": 16}
    | {f"value{width}": signed(width) for width in WIDTHS}
    | {"exponent": signed(9)}
)
RESULTS = data.StructLayout(
    {"sum": 32, "product": 32, "half_product": 32}
    | {f"fixed{width}": 32 for width in WIDTHS}
    | {"even": 16, "even_saturated": 1, "zero": 16, "zero_saturated": 1}
    | {"greater": 1, "equal": 1, "wide": 32}
)


class FloatUnits(wiring.Component):
    """Every float unit side by side in one stalled pipeline of `DEPTH` stages."""

    def __init__(self) -> None:
        super().__init__({"i": In(stream.Signature(OPERANDS)), "o": Out(stream.Signature(RESULTS))})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        en, _ = advance(m, self.i, self.o, DEPTH)
        i, o = self.i.payload, self.o.payload
        add, multiply, half = FloatAdd(), FloatMultiply(), FloatMultiply(half=True)
        compare = FloatCompare()
        m.submodules += [add, multiply, half, compare]
        self._collect(m, en, add, {"a": i.a, "b": i.b}, {"sum": add.o})
        self._collect(m, en, multiply, {"a": i.a, "b": i.b}, {"product": multiply.o})
        self._collect(m, en, half, {"a": i.a, "b": i.half}, {"half_product": half.o})
        outputs = {"greater": compare.greater, "equal": compare.equal}
        self._collect(m, en, compare, {"a": i.a, "b": i.b}, outputs)
        for width in WIDTHS:
            fixed = FixedToFloat(width)
            m.submodules += fixed
            inputs = {"value": i[f"value{width}"], "exponent": i.exponent}
            self._collect(m, en, fixed, inputs, {f"fixed{width}": fixed.o})
        for name, rounding in (("even", Rounding.NEAREST_EVEN), ("zero", Rounding.TOWARD_ZERO)):
            narrow = FloatToHalf(rounding)
            m.submodules += narrow
            outputs = {name: narrow.o, f"{name}_saturated": narrow.saturated}
            self._collect(m, en, narrow, {"a": i.a}, outputs)
        m.d.comb += o.wide.eq(delay(m, en, half_to_float(i.half), DEPTH, "wide"))
        return m

    def _collect(self, m: Module, en: Any, unit: Any, inputs: Any, outputs: Any) -> None:
        m.d.comb += unit.en.eq(en)
        m.d.comb += [getattr(unit, name).eq(value) for name, value in inputs.items()]
        for name, value in outputs.items():
            late = delay(m, en, value, DEPTH - unit.LATENCY, name)
            m.d.comb += self.o.payload[name].eq(late)


@pytest.fixture(scope="module")
def simulation() -> UnitSimulation:
    return UnitSimulation(FloatUnits(), folder=build_dir())


def as_float(bits: Any) -> Any:
    return np.asarray(bits).astype(np.uint32).view(np.float32)


def as_bits(values: Any) -> Any:
    """Return FP32 patterns as integers; -0 becomes +0, as everywhere in the machine."""
    bits = np.asarray(values, np.float32).view(np.uint32).astype(np.int64)
    return np.where(bits == 0x80000000, 0, bits)


def normal(reference: Any) -> Any:
    """Return FP32 results' patterns in the machine's format: flushed or saturated."""
    bits = as_bits(reference)
    bits = np.where((bits & 0x7F800000) == 0, 0, bits)
    return np.where((bits & 0x7F800000) == 0x7F800000, (bits & 0x80000000) | LARGEST, bits)


def product(a: Any, b: Any) -> Any:
    """Return a * b, rounded as if the exponent were unbounded and flushed then.

    NumPy's float32 would round a product below 2**-126 to a subnormal place, and so may round it
    up to 2**-126. Products of 24-bit significands are exact in float64.
    """
    significand, exponent = np.frexp(a.astype(np.float64) * b.astype(np.float64))
    rounded = np.ldexp(significand.astype(np.float32).astype(np.float64), exponent)
    return normal(np.where(np.abs(rounded) < 2.0**-126, 0, rounded))


def random_floats(rng: np.random.Generator, count: int, low: int, high: int) -> Any:
    """Return FP32 patterns [count] with uniform exponent fields in [low, high]."""
    exponent = rng.integers(low, high + 1, count)
    sign = rng.integers(0, 2, count) << 31
    return sign | (exponent << 23) | rng.integers(0, 1 << 23, count)


def random_values(rng: np.random.Generator, count: int, width: int) -> Any:
    """Return signed integers [count] of every length up to `width` bits."""
    length = rng.integers(1, width, count)
    magnitude = rng.integers(0, 1 << 63, count, dtype=np.int64) >> (63 - length)
    return np.where(rng.integers(0, 2, count) == 1, -magnitude, magnitude)


def check(simulation: UnitSimulation, folder: Path, fields: Any, stall: float = 0.0) -> Any:
    """Run operands, missing fields zero, and compare every unit with its reference."""
    count = len(next(iter(fields.values())))
    fields = {name: np.zeros(count, np.int64) for name, _ in OPERANDS} | fields
    run = simulation.run({"i": fields}, {"o": count}, folder=folder, stall=stall, seed=5)
    got = run.outputs["o"]
    a, b = as_float(fields["a"]), as_float(fields["b"])
    half = fp16_to_fp32(np.asarray(fields["half"]).astype(np.uint16))
    with np.errstate(over="ignore", under="ignore"):
        expected = {"sum": normal(a + b), "product": product(a, b)}
        expected["half_product"] = product(a, half)
        for width in WIDTHS:
            value = fixed_to_fp32(fields[f"value{width}"], fields["exponent"])
            expected[f"fixed{width}"] = normal(value)
    expected |= {"greater": a > b, "equal": a == b, "wide": as_bits(half)}
    expected["even"] = fp32_to_fp16(a, Rounding.NEAREST_EVEN)[0]
    expected["zero"] = fp32_to_fp16(a, Rounding.TOWARD_ZERO)[0]
    # The first value that rounds to 2**16 with the significand's 11 bits, and 2**16 itself.
    expected["even_saturated"] = np.abs(a.astype(np.float64)) >= 65520
    expected["zero_saturated"] = np.abs(a.astype(np.float64)) >= 65536
    for name, value in expected.items():
        wrong = np.flatnonzero(got[name] != value)
        assert not wrong.size, (name, {key: fields[key][wrong[0]] for key in fields})
    return run


def pairs(values: list[int]) -> tuple[Any, Any]:
    grid = np.array(values, np.int64)
    return np.repeat(grid, len(grid)), np.tile(grid, len(grid))


@pytest.mark.cpp
def test_corner_operands_match_in_every_pair(simulation: UnitSimulation, tmp_path: Path) -> None:
    one, tie = 0x3F800000, 0x33800000  # 1 and 2**-24, half a last place of 1
    magnitudes = [0, one, one + 1, one - 1, tie, tie + 1, tie - 1, 0x3FFFFFFF, 0x34000000]
    magnitudes += [0x00800000, 0x00FFFFFF, LARGEST, 0x7F000000, 0x477FE000, 0x477FF000, 0x477FEFFF]
    magnitudes += [0x38800000, 0x387FFFFF, 0x387FF000, 0x387FE000, 0x3F801000, 0x3F803000]
    negative = [value | 0x80000000 for value in magnitudes if value]
    a, b = pairs(magnitudes + negative)
    check(simulation, tmp_path, {"a": a, "b": b})


@pytest.mark.cpp
def test_every_distance_rounds_ties_and_borrows(simulation: UnitSimulation, tmp_path: Path) -> None:
    """Exponent differences 0 to 50 with significands at both ends, both signs, both orders."""
    fractions = np.array([0, 1, 2, 0x3FFFFF, 0x400000, 0x400001, 0x7FFFFE, 0x7FFFFF])
    distance, big, small, sign, order = (
        part.ravel() for part in np.meshgrid(np.arange(51), fractions, fractions, [0, 1], [0, 1])
    )
    a = (150 << 23) | big
    b = (sign << 31) | ((150 - distance) << 23) | small
    fields = {"a": np.where(order == 1, a, b), "b": np.where(order == 1, b, a)}
    check(simulation, tmp_path, fields)


@pytest.mark.cpp
def test_every_fp16_operand_multiplies_and_widens(
    simulation: UnitSimulation, tmp_path: Path
) -> None:
    """Finite FP16 patterns of the machine: no subnormals, no -0."""
    half = np.arange(1 << 16)
    half = half[((half & 0x7C00) != 0x7C00) & (flush_fp16(half.astype(np.uint16)) == half)]
    rng = np.random.default_rng(1)
    check(simulation, tmp_path, {"half": half, "a": random_floats(rng, len(half), 97, 157)})


@pytest.mark.cpp
def test_fixed_point_corners_round_once(simulation: UnitSimulation, tmp_path: Path) -> None:
    """Powers of two, their neighbours and ties, up to both ends of each width."""
    power = np.array([1 << bit for bit in range(63)], np.int64)
    ties = [(0x800000 + odd << up) + (1 << up >> 1) for up in range(1, 40) for odd in (0, 1, 255)]
    near = [tie + step for tie in ties for step in (-1, 0, 1)]
    values = np.concatenate([[0], power, power - 1, power + 1, near, [(1 << 63) - 1]])
    values = np.concatenate([values, -values, [-(1 << 63)]])
    fields: dict[str, Any] = {"value64": values}
    for width in WIDTHS[:2]:
        bound = 1 << (width - 1)
        fields[f"value{width}"] = np.where((values >= -bound) & (values < bound), values, -bound)
    for exponent in (0, -60, 60):
        fields["exponent"] = np.full(len(values), exponent)
        check(simulation, tmp_path / str(exponent), fields)


@pytest.mark.cpp
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_random_operands_match(simulation: UnitSimulation, tmp_path: Path, stall: float) -> None:
    """Near exponents for cancellation, far ones for alignment, any for the ends of the range."""
    rng = np.random.default_rng(2)
    ranges = ((126, 128), (110, 145), (1, 254))
    a, b = (
        np.concatenate([random_floats(rng, 50_000, low, high) for low, high in ranges])
        for _ in range(2)
    )
    fields = {"a": a, "b": b, "exponent": rng.integers(-90, 60, len(a))}
    half = rng.integers(0, 1 << 16, len(a))
    fields["half"] = flush_fp16((half & ~0x4000).astype(np.uint16))
    fields |= {f"value{width}": random_values(rng, len(a), width) for width in WIDTHS}
    run = check(simulation, tmp_path, fields, stall)
    if not stall:
        assert np.all(run.out_cycles["o"] - run.in_cycles["i"] == DEPTH)
        assert np.all(np.diff(run.out_cycles["o"]) == 1)


def test_emission_is_repeatable() -> None:
    assert emit(FloatUnits(), "floats") == emit(FloatUnits(), "floats")


@pytest.mark.parametrize("width", [1, 65])
def test_fixed_width_out_of_range_is_refused(width: int) -> None:
    with pytest.raises(ValueError, match=rf"Width must be from 2 to 64, not {width}"):
        FixedToFloat(width)


def test_rounding_of_another_type_is_refused() -> None:
    mode: Any = "even"
    with pytest.raises(TypeError, match="Rounding must be a Rounding, not 'even'"):
        FloatToHalf(mode)
