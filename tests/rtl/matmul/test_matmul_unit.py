# amaranth: UnusedElaboratable=no
"""The matmul unit against the interpreter, bit for bit, and how fast it is."""

from itertools import product
from typing import Any

import numpy as np
import pytest

from hwroute import timing
from hwroute.config import PRESETS, Variant
from hwroute.isa.fields import lines_of
from hwroute.paths import build_dir
from hwroute.rtl.array import PEArray
from hwroute.rtl.matmul import MatmulControl
from hwroute.rtl.matmul_layouts import MatmulShape
from hwroute.sim.units import UnitSimulation

HALF = 128
"""Lines of FP16 in each of two halves of the scratchpad; FP32 goes behind them."""


def out_lines(columns: int, offset: int, wide: int) -> int:
    return lines_of((offset + columns) << wide)


def add_random(bench: Any, *, columns: int, lines: int) -> None:
    """Add an instruction that may read what the one before it wrote."""
    rng, shape = bench.rng, MatmulShape.of(bench.config)
    wide, offset = int(rng.random() < 0.3), int(rng.choice([0, 0, 16, 32, rng.integers(64)]))
    rows = int(rng.integers(1, shape.rows + 1))
    here = int(len(bench.issued) % 2) * HALF
    size = out_lines(columns, offset, wide)
    pitch = size + int(rng.integers(2))
    rows = max(1, min(rows, (HALF - size) // pitch))
    blocks, groups = -(-columns // shape.columns), -(-lines // shape.group_lines)
    beats = blocks * -(-lines * shape.columns // shape.ports)
    scales = blocks * groups * lines_of(shape.columns)
    bench.add(
        rows,
        plane=int(rng.integers(0, 8)),
        x=here + int(rng.integers(30)),
        x_pitch=int(rng.integers(0, 5)),
        out=2 * HALF if wide else HALF - here,
        out_pitch=pitch,
        lines=lines,
        columns=columns,
        weights=int(rng.integers(2048 - beats)),
        scales=int(rng.integers(512 - scales)),
        bias=here + int(rng.integers(HALF - 5)),
        biased=int(rng.integers(2)),
        format=wide,
        offset=offset,
    )


GEOMETRIES = [
    pytest.param((16, 4), {}, id="demo"),
    pytest.param((4, 8), {"rows": 32}, id="two-tiles-a-cycle"),
    pytest.param((4, 4), {"rows": 32}, id="one-tile-a-cycle"),
    pytest.param((8, 2), {"beat_bits": 512, "group": 192}, id="pairs"),
    pytest.param((8, 4), {"variant": Variant.OVERPACKED}, id="overpacked"),
]


@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize(("sizes", "options"), GEOMETRIES)
def test_random_products(bench, small, sizes, options, stall) -> None:
    """Planes of all, no, one and some rows; partial blocks, offsets, biases, both formats."""
    machine = bench(small(*sizes, **options), seed=41, stall=stall)
    width = sizes[0]
    for _ in range(6):
        columns = int(machine.rng.integers(1, 3 * width + 1))
        add_random(machine, columns=columns, lines=int(machine.rng.integers(1, 6)))
    machine.run()


def test_partial_sums_go_on_in_the_next_instruction(bench, small) -> None:
    """A reduction in three parts, for several rows and for one, with others' ends between."""
    machine = bench(small(16, 4), seed=42)
    for plane, rows, out in ((0, 7, 300), (2, 4, 350), (3, 16, 400)):
        for part in range(3):
            machine.add(
                rows,
                plane=plane,
                x=4 * part,
                x_pitch=14,
                lines=4,
                columns=11,
                weights=64 + 16 * part,
                scales=2 * part,
                first=part == 0,
                last=part == 2,
                out=out,
                out_pitch=1,
                bias=200,
                biased=1,
            )
    machine.run()
    assert len(machine.array.rows) == 7 + 1 + machine.state.planes[3].sum()


def test_an_instruction_reads_what_the_one_before_it_wrote(bench, small) -> None:
    """A chain of products, each of the last one's output, with the memory at its slowest."""
    machine = bench(small(16, 4), seed=43, latency=90)
    for step in range(4):
        machine.add(2, x=10 * step, x_pitch=2, lines=1, columns=64, out=10 + 10 * step, out_pitch=2)
    machine.run()


@pytest.mark.parametrize("wide", [0, 1])
def test_outputs_begin_anywhere_and_zeros_follow(bench, small, wide) -> None:
    """What is in front of a row stays; behind its end its last line becomes zero."""
    machine = bench(small(8, 8), seed=44)
    machine.state.scratchpad[HALF:] |= 1
    cases = [*product((1, 8, 33, 64), (0, 15, 32, 63))]
    for index, (columns, offset) in enumerate(cases):
        machine.add(
            2,
            x_pitch=1,
            columns=columns,
            out=HALF + 10 * index,
            out_pitch=5,
            offset=offset,
            format=wide,
            biased=offset != 32,
            bias=40,
        )
    machine.run()
    for index, (columns, offset) in enumerate(cases):
        row = machine.pad[HALF + 10 * index :][:5].reshape(-1)
        start, end = offset << wide, (offset + columns) << wide
        assert row[:start].all()
        assert not row[end : -(-end // 64) * 64].any()


def test_blocks_come_in_turn_as_far_as_there_are_accumulator_rows(bench, small) -> None:
    """Eight blocks of four rows take all 32; those of five rows come one after the other."""
    machine = bench(small(4, 4, rows=32), seed=54)
    for rows in (4, 5):
        machine.add(rows, columns=32, lines=2, x_pitch=2, out=50 * rows, out_pitch=1)
    machine.run()
    slots = [int(beat["slot"]) for beat in machine.array.beats]
    assert slots[:64] == [*range(32), *range(32)]
    assert max(slots[64:]) == 4


def test_without_rows_nothing_is_read_or_written(bench, small) -> None:
    machine = bench(small(16, 4), seed=45)
    for plane in (1, 2, 1, 1):
        machine.add(5, plane=plane, out=100, out_pitch=1, lines=3, columns=20)
    machine.run()
    assert len(machine.array.rows) == 2
    assert len(machine.ends["write"].cycles) == 2


FAULTS = {
    "no tile": {"rows": 0},
    "tile too long": {"rows": 17},
    "no tile, no row": {"rows": 0, "plane": 1},
    "x": {"x": 507, "x_pitch": 2},
    "out": {"out": 510},
    "out, wide": {"rows": 1, "out": 510, "columns": 65, "format": 1},
    "bias": {"bias": 511, "biased": 1, "columns": 65},
    "weights": {"weights": 2041},
    "scales": {"scales": 512},
    "scales of the last block": {"scales": 511, "columns": 17},
}
FIT = {
    "x": {"x": 506, "x_pitch": 2},
    "out": {"out": 509},
    "out, wide": {"rows": 1, "out": 509, "columns": 65, "format": 1},
    "bias": {"bias": 510, "biased": 1, "columns": 65},
    "partial sums": {"out": 511, "bias": 511, "biased": 1, "last": 0},
    "weights": {"weights": 2040},
    "scales of the last block": {"scales": 510, "columns": 17},
}


def test_what_leads_beyond_a_memory_is_an_error(bench, small) -> None:
    """One line, beat or row too far fails, the last that is there does not."""
    machine = bench(small(16, 4), seed=46)
    expected = []
    for failing, cases in ((True, FAULTS), (False, FIT)):
        for case in cases.values():
            fields = {"x_pitch": 1, "out": 100, "out_pitch": 1, "lines": 2} | case
            machine.add(fields.pop("rows", 3), **fields)
            expected.append(failing)
    machine.run()
    assert [bool(error) for error, _ in machine.done] == expected


def test_partial_sums_wider_than_the_array_are_an_error(bench, small) -> None:
    machine = bench(small(16, 4), seed=47)
    machine.add(1, columns=17, last=0)
    machine.expect = lambda: [(True, False)]
    machine.run()


@pytest.mark.parametrize("memory", ["weights", "scales"])
def test_a_failed_read_is_its_instructions_error(bench, small, memory) -> None:
    """Others are read ahead of it and behind it meanwhile."""
    machine = bench(small(16, 4), seed=48)
    for index in range(5):
        machine.add(1, out=100 + index, columns=40, lines=2, weights=100 * index, scales=10 * index)
    (machine.bad if memory == "weights" else machine.bad_lines).add(
        {"weights": 323, "scales": 32}[memory]
    )
    machine.run()
    assert [error for error, _ in machine.done] == [0, 0, 0, 1, 0]


def test_what_saturates_is_told_before_the_end(bench, small) -> None:
    """FP16 saturates, FP32 does not, nor does a column that is not there."""
    machine = bench(small(16, 4), seed=49)
    machine.state.scratchpad[:4] = 0x7BFF
    machine.state.ddr[0, 0] = 0
    for columns, wide, x in ((16, 0, 0), (16, 0, 4), (16, 1, 0), (1, 0, 0), (16, 0, 4)):
        machine.add(1, x=x, out=100, columns=columns, format=wide, weights=5)
    machine.run()
    assert machine.saturated == [True, False, False, False, False]


def cycles_of(machine: Any) -> dict[str, Any]:
    return {name: np.array(end.cycles) for name, end in machine.ends.items()}


@pytest.mark.parametrize(("columns", "ports"), [(16, 4), (16, 8), (4, 4)])
def test_one_row_takes_weights_as_fast_as_ports_give_them(bench, small, columns, ports) -> None:
    """No port idles from its first beat to its last; what is left then is a stripe's."""
    machine = bench(small(columns, ports, rows=32), seed=50)
    shape = MatmulShape.of(machine.config)
    blocks, lines = 4 * shape.tracks, shape.chunk_lines
    machine.add(1, columns=columns * blocks, lines=lines, out=256)
    machine.run()
    cycles = cycles_of(machine)
    beats = blocks * lines * columns // ports
    assert np.ptp(cycles["beats_0"]) + 1 == beats
    stripe = shape.tracks * shape.chunk_beats
    assert cycles["x"][-1] - cycles["beats_0"][0] < beats + stripe + 10


def test_many_rows_give_the_array_a_beat_every_cycle(bench, small) -> None:
    machine = bench(small(16, 4), seed=55)
    machine.add(16, columns=48, lines=8, x_pitch=8, out=256, out_pitch=1)
    machine.run()
    beats = cycles_of(machine)["x"]
    assert len(beats) == 16 * 3 * 8
    assert set(np.diff(beats).tolist()) == {1}


def test_ports_go_on_from_one_instruction_to_the_next(bench, small) -> None:
    """The end of one, its writes, and the start of the next are hidden by reading ahead."""
    machine = bench(small(16, 4), seed=51, latency=40)
    for index in range(4):
        machine.add(1, columns=128, lines=8, weights=256 * index, x=index, out=300 + 4 * index)
    machine.run()
    beats = cycles_of(machine)["beats_0"]
    assert len(beats) == 4 * 256
    assert np.ptp(beats) + 1 == len(beats)


def test_latencies_are_what_timing_says(bench, small) -> None:
    machine = bench(small(16, 4), seed=52, latency=1)
    machine.add(3, x_pitch=1, out=100, out_pitch=1)
    machine.add(1, x_pitch=1, out=110, out_pitch=1, plane=1)
    machine.run()
    cycles = cycles_of(machine)
    front = timing.matmul_front_cycles(3)
    issued = cycles["issue"][0]
    assert cycles["ask_x"][0] - issued == front + timing.MATMUL_REQUEST_CYCLES
    assert cycles["request_0"][0] - issued == front + timing.MATMUL_REQUEST_CYCLES
    rows = MatmulShape.of(machine.config).tile_rows
    complete = max(cycles["beats_0"][rows - 1], cycles["scales"][-1] + rows - 1)
    assert cycles["w"][0] - complete == timing.MATMUL_TILE_CYCLES
    assert cycles["x"][0] == max(
        cycles["w"][0] + 1, cycles["ask_x"][0] + timing.SCRATCHPAD_READ_CYCLES + 1
    )
    assert cycles["write"][0] - cycles["o"][0] == timing.MATMUL_SEGMENT_CYCLES + 1
    assert cycles["done"][0] - cycles["write"][-1] == timing.MATMUL_END_CYCLES
    assert cycles["done"][1] - cycles["done"][0] == timing.MATMUL_END_CYCLES


@pytest.mark.cpp
def test_the_array_makes_the_same_of_beats_and_tiles(bench, small, tmp_path) -> None:
    """The real array, fed with what the unit sent to its model, sends what the model sent."""
    config = PRESETS["demo"]
    machine = bench(small(16, 4), seed=53)
    assert machine.config.array == config.array
    machine.add(1, columns=70, lines=3, out=200)
    machine.add(9, columns=30, lines=2, x_pitch=2, out=220, out_pitch=1)
    machine.add(16, columns=16, lines=2, x_pitch=2, last=0)
    machine.add(16, columns=16, lines=2, x_pitch=2, first=0, out=250, out_pitch=1)
    machine.run()
    array = machine.array

    def stacked(payloads: Any) -> dict[str, Any]:
        return {name: np.array([one[name] for one in payloads]) for name in payloads[0]}

    shape = (1, config.array.kv_vectors, 64)
    nothing = {"vectors": np.zeros(shape, np.uint16), "values": [0], "last": [1]}
    inputs = {"x": stacked(array.beats), "w": stacked(array.tiles), "kv": nothing}
    simulation = UnitSimulation(PEArray(config), folder=build_dir())
    run = simulation.run(inputs, {"o": len(array.rows)}, folder=tmp_path)
    expected = stacked(array.rows)
    assert run.outputs["o"]["slot"].tolist() == expected["slot"].tolist()
    np.testing.assert_array_equal(run.outputs["o"]["columns"], expected["columns"])


def test_wrong_sizes_are_refused(small) -> None:
    sizes: Any = 16
    with pytest.raises(TypeError, match="Sizes must be a Config, not 16"):
        MatmulControl(sizes)
    with pytest.raises(ValueError, match="Beat bits must be 256 or 512, not 128"):
        MatmulControl(small(16, 4, beat_bits=128))
