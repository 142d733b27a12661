# amaranth: UnusedElaboratable=no
"""The column pairs of both variants: every bit of their integer sums and powers of two."""

from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Cat, Module, Signal, Value, signed
from amaranth.lib import fifo, stream, wiring
from amaranth.lib.data import ArrayLayout, StructLayout
from amaranth.lib.wiring import In, Out

from hwroute.config import Numerics, Variant
from hwroute.models.ops.columns import AlignedColumns, OverpackedColumns
from hwroute.numerics import align_block
from hwroute.paths import build_dir
from hwroute.rtl.aligned_column import AlignedColumnPair
from hwroute.rtl.column_ports import ColumnShape
from hwroute.rtl.overpacked_column import OverpackedColumnPair
from hwroute.rtl.pipeline import delay
from hwroute.sim.units import UnitSimulation
from hwroute.timing import ALIGNED_COLUMN_CYCLES, CASCADE_LANES, OVERPACKED_COLUMN_CYCLES

LARGEST, SMALLEST, SUBNORMAL, ONE = 0x7BFF, 0x0400, 0x03FF, 0x3C00
ROOM = 32
RESULT = StructLayout(
    {"sum0": signed(41), "power0": signed(9), "sum1": signed(41), "power1": signed(9)}
)


class PairBench(wiring.Component):
    """Write a tile of one row to both columns, then read it with one beat.

    ``a`` are the lanes as the pair takes them, ``k`` the two vectors of K, written one after the
    other. Results wait in a queue; a beat starts only if there is room.
    """

    def __init__(self, *, aligned: bool):
        self.shape = ColumnShape(
            columns=2, fp16_columns=1 if aligned else 2, vectors=1, aligned=aligned
        )
        bits = self.shape.operand_bits
        lanes = ArrayLayout(signed(18) if aligned else 16, 64)
        self.beat = StructLayout(
            {
                "a": lanes,
                "fp16": 1,
                "w": ArrayLayout(ArrayLayout(4, 64), 2),
                "k": ArrayLayout(ArrayLayout(bits, 64), 2),
                "exponent": 5,
                "power": signed(9),
            }
        )
        super().__init__({"i": In(stream.Signature(self.beat)), "o": Out(stream.Signature(RESULT))})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        aligned = self.shape.aligned
        pair: Any = (AlignedColumnPair if aligned else OverpackedColumnPair)(self.shape)
        m.submodules.pair = pair
        i = self.i.payload
        phase, row, owed = Signal(range(3)), Signal(5), Signal(range(ROOM + 1))
        starts = Signal()
        m.d.comb += [
            self.i.ready.eq((phase == 2) & (owed != ROOM)),
            starts.eq(self.i.valid & self.i.ready),
        ]
        with m.If(self.i.valid & (phase != 2)):
            m.d.sync += phase.eq(phase + 1)
        with m.If(starts):
            m.d.sync += [phase.eq(0), row.eq(row + 1)]
        m.d.comb += [
            pair.weights_write.eq(self.i.valid & (phase == 0)),
            pair.weights_row.eq(row),
            Value.cast(pair.weights).eq(Value.cast(i.w)),
            pair.kernel_row.eq(row),
        ]
        for output in range(self.shape.outputs):
            write = (self.i.valid & (phase == output)).replicate(64)
            m.d.comb += Value.cast(pair.kernel_write[output]).eq(write)
        with m.If(phase == 1):
            m.d.comb += Value.cast(pair.kernel_vector).eq(Value.cast(i.k[1]))
        with m.Else():
            m.d.comb += Value.cast(pair.kernel_vector).eq(Value.cast(i.k[0]))
        latency = ALIGNED_COLUMN_CYCLES if aligned else OVERPACKED_COLUMN_CYCLES
        self._read(m, pair, i, row, latency)
        self._collect(m, pair, starts, owed, latency)
        return m

    def _read(self, m: Module, pair: Any, i: Any, row: Any, latency: int) -> None:
        if self.shape.aligned:
            m.d.comb += pair.kernel_exponent.eq(i.exponent)
        for place, read in enumerate(pair.read):
            m.d.comb += [
                read.fp16.eq(delay(m, 1, i.fp16, place, f"fp16_{place}")),
                read.weights.eq(delay(m, 1, row, place, f"row_{place}")),
                read.kernel.eq(delay(m, 1, row, place, f"kernel_{place}")),
            ]
        for lane in range(64):
            place = lane % CASCADE_LANES if self.shape.aligned else 0
            m.d.comb += pair.x[lane].eq(delay(m, 1, i.a[lane], place, f"x_{lane}"))
        m.d.comb += [
            pair.finish.fp16.eq(delay(m, 1, i.fp16, latency - 1, "finish_fp16")),
            pair.finish.scores.eq(delay(m, 1, i.fp16, latency - 1, "finish_scores")),
            pair.finish.kernel.eq(delay(m, 1, row, latency - 1, "finish_row")),
            pair.finish.power.eq(delay(m, 1, i.power, latency - 1, "finish_power")),
        ]

    def _collect(self, m: Module, pair: Any, starts: Any, owed: Any, latency: int) -> None:
        valid = Signal(latency)
        m.submodules.results = results = fifo.SyncFIFOBuffered(width=100, depth=ROOM)
        wide = [Signal(signed(41), name=f"wide_{column}") for column in (0, 1)]
        m.d.sync += [
            valid.eq((valid << 1) | starts),
            owed.eq(owed + starts - (self.o.valid & self.o.ready)),
        ]
        m.d.comb += [
            wide[0].eq(pair.sum0),
            wide[1].eq(pair.sum1),
            results.w_data.eq(Cat(wide[0], pair.power0, wide[1], pair.power1)),
            results.w_en.eq(valid[-1]),
            Value.cast(self.o.payload).eq(results.r_data),
            self.o.valid.eq(results.r_rdy),
            results.r_en.eq(self.o.ready),
        ]


def operands(seed: int) -> tuple[Any, Any, Any]:
    """Return x [count, 64], k [count, 2, 64] FP16 and w [count, 2, 64], corners first."""
    rng = np.random.default_rng(seed)
    corners = np.array([0, SUBNORMAL, LARGEST, LARGEST | 0x8000, SMALLEST, ONE], np.uint16)
    x = np.repeat(np.repeat(corners, 6)[:, None], 64, axis=1)
    k = np.repeat(np.tile(corners, 6)[:, None, None], 64, axis=2).repeat(2, axis=1)
    k[:, 1, ::2] ^= 0x8000
    w = np.resize(np.array([-8, 7, 0, -1, 1, -8]), 36)[:, None, None].repeat(64, 2).repeat(2, 1)
    w[::2, 1] = 7
    w[1::3, 0, ::2] = -8
    wide = rng.integers(0, 0x7C00, (200, 3, 64)) | rng.integers(0, 2, (200, 3, 64)) << 15
    near = rng.integers(12 << 10, 18 << 10, (200, 3, 64)) | rng.integers(0, 2, (200, 3, 64)) << 15
    near[:, :, ::7] = 0
    random = np.concatenate([wide, near]).astype(np.uint16)
    weights = rng.integers(-8, 8, (400, 2, 64))
    return (
        np.concatenate([x, random[:, 0]]),
        np.concatenate([k, random[:, 1:]]),
        np.concatenate([w, weights]).astype(np.int8),
    )


def compare(bench: Any, beat: dict[str, Any], expected: Any, folder: Any, stall: float) -> None:
    """Run beats and compare with the expected sums and powers, [count, 2] each."""
    count = len(beat["a"])
    unit = UnitSimulation(bench, folder=build_dir())
    got = unit.run({"i": beat}, {"o": count}, folder=folder, stall=stall, seed=2).outputs["o"]
    for column in (0, 1):
        np.testing.assert_array_equal(got[f"sum{column}"], expected[0][:, column])
        np.testing.assert_array_equal(got[f"power{column}"], expected[1][:, column])


@pytest.mark.cpp
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_aligned_pair_sums_exactly(tmp_path, stall):
    x, k, w = operands(41)
    golden = AlignedColumns(Numerics())
    x, k, w = np.repeat(x, 2, 0), np.repeat(k, 2, 0), np.repeat(w, 2, 0)
    fp16 = np.arange(len(x)) % 2 == 0
    narrow, ex = align_block(x, 14)
    wide, _ = align_block(x, 17)
    keys, ek = align_block(k, 17)
    beat = {
        "a": np.where(fp16[:, None], wide, narrow),
        "fp16": fp16,
        "w": w,
        "k": keys,
        "exponent": ek[:, 0],
        "power": ex - np.where(fp16, 62, 28),
    }
    sums = np.zeros((len(x), 2), np.int64)
    powers = np.zeros((len(x), 2), np.int64)
    for index in range(len(x)):
        if fp16[index]:
            total, power = golden.block_dot_fp16(x[index, None], k[index, :1])
            sums[index] = total[0, 0], 0
            powers[index] = power[0, 0]
        else:
            total, power = golden.block_dot_int4(x[index, None, None], w[index, :, None])
            sums[index] = total[0, :, 0]
            powers[index] = power[0, 0, 0]
    compare(PairBench(aligned=True), beat, (sums, powers), tmp_path, stall)


@pytest.mark.cpp
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_overpacked_pair_truncates_as_the_golden_one(tmp_path, stall):
    x, k, w = operands(42)
    golden = OverpackedColumns(Numerics(variant=Variant.OVERPACKED))
    x, k, w = np.repeat(x, 2, 0), np.repeat(k, 2, 0), np.repeat(w, 2, 0)
    fp16 = np.arange(len(x)) % 2 == 0
    beat = {
        "a": x,
        "fp16": fp16,
        "w": w,
        "k": k,
        "exponent": np.zeros(len(x), np.int64),
        "power": np.where(fp16, -43, -25),
    }
    sums = np.zeros((len(x), 2), np.int64)
    powers = np.zeros((len(x), 2), np.int64)
    for index in range(len(x)):
        if fp16[index]:
            total, power = golden.block_dot_fp16(x[index, None], k[index])
            sums[index], powers[index] = total[0], power[0]
        else:
            total, power = golden.block_dot_int4(x[index, None, None], w[index, :, None])
            sums[index], powers[index] = total[0, :, 0], power[0, :, 0]
    compare(PairBench(aligned=False), beat, (sums, powers), tmp_path, stall)
