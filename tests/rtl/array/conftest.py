"""The PE array in Verilator, and programs for it: beats and tiles in, expected rows out."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hwroute.config import PRESETS, ArrayConfig, Config, Numerics, Variant
from hwroute.models.ops.columns import columns_of
from hwroute.paths import build_dir
from hwroute.rtl.array import PEArray
from hwroute.rtl.array_layouts import Mode
from hwroute.rtl.column_ports import ColumnShape
from hwroute.sim.units import Run, UnitSimulation

X_FIELDS = ("mode", "lanes", "reference", "part", "slot", "first", "last", "hold")


@dataclass
class Script:
    """What to feed to the streams of an array of a configuration, in order, and what to expect."""

    config: Config
    x: list[dict[str, Any]] = field(default_factory=list)
    w: list[tuple[Any, Any]] = field(default_factory=list)
    kv: list[tuple[Any, int, int]] = field(default_factory=list)
    rows: list[tuple[int, NDArray[np.float32]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.shape = ColumnShape.of(self.config)
        self.golden = columns_of(self.config.numerics)

    def beat(self, mode: Mode, lanes: Any, slot: int, **flags: int) -> None:
        defaults = {"reference": 0, "part": 0, "first": 1, "last": 1, "hold": 0}
        self.x.append(
            defaults | {"mode": mode.value, "lanes": np.array(lanes), "slot": slot} | flags
        )

    def int4(self, x: Any, values: Any, scales: Any, slots: list[int] | None = None) -> None:
        """Multiply x [T, K] by weights [columns, K]: tiles outside, tokens inside."""
        tokens, blocks = len(x), x.shape[1] // 64
        slots = list(range(tokens)) if slots is None else slots
        group = self.config.numerics.group
        for block in range(blocks):
            lanes = slice(64 * block, 64 * (block + 1))
            self.w.append((values[:, lanes], scales[:, 64 * block // group]))
            for token in range(tokens):
                flags = {"first": block == 0, "last": block == blocks - 1}
                hold = token < tokens - 1
                self.beat(Mode.INT4, x[token, lanes], slots[token], hold=hold, **flags)
        for slot, row in zip(slots, self.golden.matmul_int4(x, values, scales), strict=True):
            self.rows.append((slot, row))

    def tile(self, vectors: Any, capacity: int, values: bool) -> None:
        """Send vectors [n, 64] as one tile, closed early if they do not fill it."""
        size = self.shape.vectors
        for start in range(0, len(vectors), size):
            chunk = np.zeros((size, 64), np.uint16)
            part = vectors[start : start + size]
            chunk[: len(part)] = part
            closes = start + size >= len(vectors) and start + size < capacity
            self.kv.append((chunk, int(values), int(closes)))

    def scores(self, q: Any, k: Any) -> None:
        """Multiply q [T, d] by k [n, d], n at most the FP16xFP16 columns, d a multiple of 64."""
        tokens, blocks = len(q), q.shape[1] // 64
        for block in range(blocks):
            lanes = slice(64 * block, 64 * (block + 1))
            self.tile(k[:, lanes], self.shape.fp16_columns, False)
            for token in range(tokens):
                flags = {"first": block == 0, "last": block == blocks - 1}
                hold = token < tokens - 1
                self.beat(Mode.SCORES, q[token, lanes], token, hold=hold, **flags)
        for token, row in enumerate(self.golden.scores(q[None], k[None])[0]):
            self.rows.append((token, row))

    def values(self, p: Any, v: Any, reference: Any) -> None:
        """Multiply p [T, n] by v [n, 64] with references [T]; T * parts at most the rows."""
        width, parts = min(64, self.shape.fp16_columns), self.shape.parts
        padding = -len(v) % 64
        starts = range(0, len(v), 64)
        padded = np.pad(p, ((0, 0), (0, padding)))
        for start in starts:
            self.tile(v[start : start + 64], 64, True)
            for token in range(len(p)):
                for part in range(parts):
                    self.beat(
                        Mode.VALUES,
                        padded[token, start : start + 64],
                        token * parts + part,
                        part=part,
                        reference=int(reference[token]),
                        first=start == 0,
                        last=start == starts[-1],
                        hold=(token, part) != (len(p) - 1, parts - 1),
                    )
        result = self.golden.values(p[None], v[None], np.asarray(reference)[None, :, None])[0]
        for token, row in enumerate(result):
            for part in range(parts):
                slot = token * parts + part
                self.rows.append((slot, row[part * width : (part + 1) * width]))

    def inputs(self) -> dict[str, Any]:
        """Return the streams' payloads, one dummy tile where there is none."""
        x = {name: np.array([beat[name] for beat in self.x]) for name in X_FIELDS}
        columns, vectors = self.shape.columns, self.shape.vectors
        weights = [tile[0] for tile in self.w] or [np.zeros((columns, 64), np.int8)]
        scales = [tile[1] for tile in self.w] or [np.zeros(columns, np.uint16)]
        kv = self.kv or [(np.zeros((vectors, 64), np.uint16), 0, 1)]
        return {
            "x": x,
            "w": {"weights": np.array(weights), "scales": np.array(scales)},
            "kv": {
                "vectors": np.array([beat[0] for beat in kv]),
                "values": np.array([beat[1] for beat in kv]),
                "last": np.array([beat[2] for beat in kv]),
            },
        }

    def check(self, output: Any) -> None:
        """Compare every bit of every expected column of every row."""
        assert output["slot"].tolist() == [slot for slot, _ in self.rows]
        for index, (_, row) in enumerate(self.rows):
            got = output["columns"][index, : len(row)].astype(np.uint32)
            np.testing.assert_array_equal(got, row.view(np.uint32), err_msg=f"row {index}")


SMALL = Config(
    name="small",
    numerics=Numerics(variant=Variant.OVERPACKED),
    array=ArrayConfig(columns=4, kv_vectors=2, accumulator_rows=16),
)
"""The overpacked variant takes long to compile: a size of its own where `demo` is slow."""


def with_variant(name: str, variant: Variant) -> Config:
    return replace(PRESETS[name], numerics=Numerics(variant=variant))


CONFIGS = [
    pytest.param(PRESETS["demo"], id="demo-aligned"),
    pytest.param(SMALL, id="small-overpacked"),
    pytest.param(PRESETS["mid"], id="mid-aligned", marks=pytest.mark.slow),
    pytest.param(
        with_variant("demo", Variant.OVERPACKED), id="demo-overpacked", marks=pytest.mark.slow
    ),
]


class Bench:
    """An array in Verilator."""

    def __init__(self, config: Config):
        self.config = config
        self.simulation = UnitSimulation(PEArray(config), folder=build_dir())
        self.aligned = config.numerics.variant is Variant.ALIGNED

    def script(self) -> Script:
        return Script(self.config)

    def run(self, script: Script, folder: Any, **options: Any) -> Run:
        """Run and compare every row."""
        rows = {"o": len(script.rows)}
        run = self.simulation.run(
            script.inputs(), rows, folder=folder, max_cycles=100_000, **options
        )
        script.check(run.outputs["o"])
        return run


@pytest.fixture(scope="module", params=CONFIGS)
def bench(request) -> Bench:
    return Bench(request.param)
