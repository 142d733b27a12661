# amaranth: UnusedElaboratable=no
"""Stream parts keep order and payloads under any stall, and lose no cycle without one."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Module, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hwroute.paths import build_dir
from hwroute.rtl.pipeline import adder_tree, advance, delay, leading_zeros
from hwroute.rtl.streams import Fork, Join, SkidBuffer
from hwroute.sim.units import Run, UnitSimulation

COUNT = 2000
TREES = (1, 5, 16)
"""Numbers of operands of the adder trees under test."""
DEPTH = 2
OPERANDS = data.StructLayout({"terms": data.ArrayLayout(signed(8), 16), "number": 41})
RESULTS = data.StructLayout({f"sum{size}": signed(12) for size in TREES} | {"zeros": 6})


class StreamParts(wiring.Component):
    """Every part side by side, each with ports of its own."""

    def __init__(self) -> None:
        join = Join({"a": 8, "b": 16})
        self.parts = {"skid": SkidBuffer(16), "fork": Fork(16, ways=3), "join": join}
        members = {
            "math_i": In(stream.Signature(OPERANDS)),
            "math_o": Out(stream.Signature(RESULTS)),
        }
        for part, unit in self.parts.items():
            members |= {f"{part}_{name}": port for name, port in unit.signature.members.items()}
        super().__init__(members)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        for part, unit in self.parts.items():
            m.submodules[part] = unit
            for name in unit.signature.members:
                port = getattr(self, f"{part}_{name}")
                wiring.connect(m, wiring.flipped(port), getattr(unit, name))
        en, _ = advance(m, self.math_i, self.math_o, DEPTH)
        operands, results = self.math_i.payload, self.math_o.payload
        for size in TREES:
            terms = [operands.terms[index] for index in range(size)]
            total, cycles = adder_tree(m, en, terms, f"tree{size}")
            late = delay(m, en, total, DEPTH - cycles, f"sum{size}")
            m.d.comb += results[f"sum{size}"].eq(late)
        zeros = delay(m, en, leading_zeros(operands.number), DEPTH, "zeros")
        m.d.comb += results.zeros.eq(zeros)
        return m


@pytest.fixture(scope="module")
def simulation() -> UnitSimulation:
    return UnitSimulation(StreamParts(), folder=build_dir())


def run_parts(simulation: UnitSimulation, folder: Path, stall: float) -> tuple[Any, Run]:
    rng = np.random.default_rng(4)
    length = rng.integers(1, 42, COUNT)
    terms = rng.integers(-128, 128, (COUNT, 16))
    terms[:2] = [[-128], [127]]
    number = (1 << (length - 1)) | rng.integers(0, 1 << 41, COUNT) >> (42 - length)
    inputs: dict[str, Any] = {
        name: rng.integers(0, 1 << width, COUNT)
        for name, width in (("skid_i", 16), ("fork_i", 16), ("join_a", 8), ("join_b", 16))
    }
    inputs["math_i"] = {"terms": terms, "number": number}
    sinks = ("skid_o", "fork_o_0", "fork_o_1", "fork_o_2", "join_o", "math_o")
    expect = dict.fromkeys(sinks, COUNT)
    run = simulation.run(inputs, expect, folder=folder, stall=stall, seed=9)
    return inputs, run


@pytest.mark.cpp
@pytest.mark.parametrize("stall", [0.0, 0.5, 0.9])
def test_payloads_arrive_in_order(simulation: UnitSimulation, tmp_path: Path, stall: float) -> None:
    inputs, run = run_parts(simulation, tmp_path, stall)
    assert np.array_equal(run.outputs["skid_o"], inputs["skid_i"])
    for way in range(3):
        assert np.array_equal(run.outputs[f"fork_o_{way}"], inputs["fork_i"])
    assert np.array_equal(run.outputs["join_o"]["a"], inputs["join_a"])
    assert np.array_equal(run.outputs["join_o"]["b"], inputs["join_b"])


@pytest.mark.cpp
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_trees_add_and_zeros_are_counted(
    simulation: UnitSimulation, tmp_path: Path, stall: float
) -> None:
    inputs, run = run_parts(simulation, tmp_path, stall)
    got, operands = run.outputs["math_o"], inputs["math_i"]
    for size in TREES:
        assert np.array_equal(got[f"sum{size}"], operands["terms"][:, :size].sum(axis=-1))
    lengths = np.array([int(number).bit_length() for number in operands["number"]])
    assert np.array_equal(got["zeros"], 41 - lengths)


@pytest.mark.cpp
def test_no_part_loses_a_cycle(simulation: UnitSimulation, tmp_path: Path) -> None:
    _, run = run_parts(simulation, tmp_path, 0.0)
    for source, sink, latency in (
        ("skid_i", "skid_o", 1),
        ("fork_i", "fork_o_2", 0),
        ("join_a", "join_o", 0),
        ("math_i", "math_o", DEPTH),
    ):
        assert np.all(run.out_cycles[sink] - run.in_cycles[source] == latency), sink
        assert np.all(np.diff(run.out_cycles[sink]) == 1), sink


def test_fork_without_outputs_is_refused() -> None:
    with pytest.raises(ValueError, match="Ways must be at least 1, not 0"):
        Fork(8, ways=0)


@pytest.mark.parametrize("shapes", [{}, {"o": 8}])
def test_join_of_wrong_inputs_is_refused(shapes: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="Shapes must be at least one, none called 'o', not"):
        Join(shapes)
