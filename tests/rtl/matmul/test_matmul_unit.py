# amaranth: UnusedElaboratable=no
"""The matmul unit against the interpreter, bit for bit, and how fast it is."""

from typing import Any

import pytest

from hwroute.config import Variant
from hwroute.isa.fields import lines_of
from hwroute.rtl.matmul_layouts import MatmulShape

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
    pytest.param((16, 32), {}, id="two-tiles-a-cycle"),
    pytest.param((4, 4), {"rows": 32}, id="one-tile-a-cycle"),
    pytest.param((16, 2), {"beat_bits": 512, "group": 192}, id="pairs"),
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
