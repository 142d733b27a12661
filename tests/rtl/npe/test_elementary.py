"""Reciprocals, the factors of silu and of a line against the golden functions, in FP32."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hwroute.models.ops import functions as golden
from hwroute.numerics import fp16_to_fp32
from hwroute.paths import build_dir
from hwroute.rtl.pipeline import advance, delay
from hwroute.rtl.reciprocal import Reciprocal
from hwroute.rtl.row_scale import RowScale
from hwroute.rtl.silu import SiluFactors
from hwroute.rtl.vector_layouts import VectorOperation
from hwroute.sim.units import Run, UnitSimulation
from hwroute.timing import VECTOR_FACTORS_CYCLES

OPERANDS = data.StructLayout(
    {"y": 32, "x": 16, "operation": VectorOperation, "inverse": 32, "epsilon": 32}
)
RESULTS = data.StructLayout(
    {"reciprocal": 32, "root": 32, "sigmoid": 32, "power": 32, "scale": 32},
)


class ElementaryUnits(wiring.Component):
    """Every elementary function side by side in one stalled pipeline; ``y`` is the statistic."""

    def __init__(self) -> None:
        super().__init__({"i": In(stream.Signature(OPERANDS)), "o": Out(stream.Signature(RESULTS))})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        en, _ = advance(m, self.i, self.o, VECTOR_FACTORS_CYCLES)
        i = self.i.payload
        reciprocal, root = Reciprocal(), Reciprocal(root=True)
        silu, scale = SiluFactors(), RowScale()
        m.submodules += [reciprocal, root, silu, scale]
        operands = {name: i[name] for name in ("operation", "inverse", "epsilon")}
        units: list[tuple[Any, dict[str, Any], dict[str, Any]]] = [
            (reciprocal, {"a": i.y}, {"reciprocal": reciprocal.o}),
            (root, {"a": i.y}, {"root": root.o}),
            (silu, {"x": i.x}, {"sigmoid": silu.reciprocal, "power": silu.power}),
            (scale, {"statistic": i.y, **operands}, {"scale": scale.o}),
        ]
        for unit, inputs, outputs in units:
            m.d.comb += unit.en.eq(en)
            m.d.comb += [getattr(unit, name).eq(value) for name, value in inputs.items()]
            for name, value in outputs.items():
                late = delay(m, en, value, VECTOR_FACTORS_CYCLES - unit.LATENCY, name)
                m.d.comb += self.o.payload[name].eq(late)
        return m


@pytest.fixture(scope="module")
def simulation() -> UnitSimulation:
    return UnitSimulation(ElementaryUnits(), folder=build_dir())


def run(
    simulation: UnitSimulation, folder: Path, fields: dict[str, Any], stall: float = 0.0
) -> tuple[Run, dict[str, Any]]:
    """Run operands, missing fields zero; return the run and its results as FP32."""
    count = len(next(iter(fields.values())))
    fields = {name: np.zeros(count, np.int64) for name, _ in OPERANDS} | fields
    found = simulation.run({"i": fields}, {"o": count}, folder=folder, stall=stall, seed=7)
    floats = {name: as_float(value) for name, value in found.outputs["o"].items()}
    return found, floats


def as_float(bits: Any) -> Any:
    return np.asarray(bits).astype(np.uint32).view(np.float32)


def as_bits(values: Any) -> Any:
    return np.asarray(values, np.float32).view(np.uint32).astype(np.int64)


def ends_of_segments(exponent: int) -> Any:
    """Return FP32 patterns [...] of one binade: both ends of 256 segments and their middles."""
    fraction = np.arange(256) << 15
    offsets = np.array([0, 1, 0x3FFF, 0x4000, 0x7FFE, 0x7FFF])
    return exponent << 23 | (fraction[:, None] + offsets).ravel()


@pytest.mark.cpp
def test_reciprocal_and_root_at_the_ends_of_every_segment(
    simulation: UnitSimulation, tmp_path: Path
) -> None:
    y = np.concatenate([ends_of_segments(exponent) for exponent in (1, 2, 126, 127, 128, 251, 252)])
    _, got = run(simulation, tmp_path, {"y": y})
    assert np.array_equal(got["reciprocal"], golden.reciprocal(as_float(y)))
    assert np.array_equal(got["root"], golden.rsqrt(as_float(y)))


@pytest.mark.cpp
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_reciprocal_and_root_of_random_values(
    simulation: UnitSimulation, tmp_path: Path, stall: float
) -> None:
    rng = np.random.default_rng(11)
    y = rng.integers(1, 253, 60_000) << 23 | rng.integers(0, 1 << 23, 60_000)
    _, got = run(simulation, tmp_path, {"y": y}, stall)
    assert np.array_equal(got["reciprocal"], golden.reciprocal(as_float(y)))
    assert np.array_equal(got["root"], golden.rsqrt(as_float(y)))


@pytest.mark.cpp
def test_factors_of_silu_for_every_half(simulation: UnitSimulation, tmp_path: Path) -> None:
    """All finite FP16, subnormals and -0 among them: x times the factors, in order, is silu(x)."""
    patterns = np.arange(1 << 16)
    patterns = patterns[(patterns & 0x7C00) != 0x7C00].astype(np.uint16)
    _, got = run(simulation, tmp_path, {"x": patterns})
    product = fp16_to_fp32(patterns) * got["sigmoid"] * got["power"]
    assert np.array_equal(product, golden.silu(patterns))


@pytest.mark.cpp
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_factor_of_a_line(simulation: UnitSimulation, tmp_path: Path, stall: float) -> None:
    """Operations in random order; mean squares far above epsilon, below it, and none."""
    rng = np.random.default_rng(13)
    count = 20_000
    operation = rng.integers(1, 7, count)
    y = np.where(rng.random(count) < 0.05, 0, 2.0 ** rng.uniform(-40, 45, count)).astype(np.float32)
    y = np.where(operation == VectorOperation.DIVIDE.value, np.maximum(y, np.float32(2**-30)), y)
    inverse = (1 / rng.integers(1, 8193, count)).astype(np.float32)
    epsilon = rng.choice([1e-5, 1e-6, 1e-12], count).astype(np.float32)
    fields = {"y": as_bits(y), "operation": operation}
    fields |= {"inverse": as_bits(inverse), "epsilon": as_bits(epsilon)}
    found, got = run(simulation, tmp_path, fields, stall)
    expected = np.ones(count, np.float32)
    normalise = operation == VectorOperation.NORMALISE.value
    divide = operation == VectorOperation.DIVIDE.value
    expected[normalise] = golden.rsqrt((y * inverse + epsilon)[normalise])
    expected[divide] = golden.reciprocal(y[divide])
    assert np.array_equal(got["scale"], expected)
    if not stall:
        assert np.all(found.out_cycles["o"] - found.in_cycles["i"] == VECTOR_FACTORS_CYCLES)
