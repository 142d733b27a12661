# amaranth: UnusedElaboratable=no
"""The block aligner against `hwroute.numerics`."""

from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Module, signed
from amaranth.lib import stream, wiring
from amaranth.lib.data import ArrayLayout, StructLayout
from amaranth.lib.wiring import In, Out

from hwroute.numerics import align_block, align_to, decode_fp16
from hwroute.paths import build_dir
from hwroute.rtl.aligner import ALIGNED_BITS, REFERENCE_BITS, BlockAligner
from hwroute.rtl.pipeline import advance
from hwroute.sim.units import UnitSimulation
from hwroute.timing import ALIGNER_CYCLES

BLOCK = StructLayout(
    {
        "lanes": ArrayLayout(16, 64),
        "int4": 1,
        "given": 1,
        "reference": ArrayLayout(REFERENCE_BITS, 64),
    }
)
ALIGNED = StructLayout(
    {
        "aligned": ArrayLayout(signed(ALIGNED_BITS), 64),
        "exponent": 5,
        "plain": ArrayLayout(signed(ALIGNED_BITS), 64),
        "plain_exponent": 5,
    }
)


class Aligners(wiring.Component):
    """Both forms of the aligner in one stalled pipeline."""

    i: In(stream.Signature(BLOCK))
    o: Out(stream.Signature(ALIGNED))

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        en, _ = advance(m, self.i, self.o, ALIGNER_CYCLES)
        m.submodules.broadcast = broadcast = BlockAligner(broadcast=True)
        m.submodules.plain = plain = BlockAligner()
        i, o = self.i.payload, self.o.payload
        m.d.comb += [
            broadcast.en.eq(en),
            broadcast.lanes.eq(i.lanes),
            broadcast.int4.eq(i.int4),
            broadcast.given.eq(i.given),
            broadcast.reference.eq(i.reference),
            plain.en.eq(en),
            plain.lanes.eq(i.lanes),
            o.aligned.eq(broadcast.aligned),
            o.exponent.eq(broadcast.exponent),
            o.plain.eq(plain.aligned),
            o.plain_exponent.eq(plain.exponent),
        ]
        return m


@pytest.fixture(scope="module")
def aligners() -> UnitSimulation:
    return UnitSimulation(Aligners(), folder=build_dir())


def corner_lanes() -> Any:
    """Blocks of zeros, subnormals, one value, and every distance with every rounding case."""
    blocks = [np.zeros(64), np.full(64, 0x83FF), np.full(64, 0x7BFF), np.full(64, 0xFBFF)]
    for exponent in range(1, 31):
        block = (exponent << 10) | np.arange(0, 1024, 16)
        block[0] = 30 << 10
        blocks.append(block)
        blocks.append(block | 0x8000 | 0x000F)
        # Exactly half way, with an even and an odd place above.
        halves = (exponent << 10) | (1 << np.arange(64) % 11 >> 1) | (3 << np.arange(64) % 9)
        halves[5] = (min(exponent + 9, 30)) << 10
        blocks.append(halves)
    return np.array(blocks).astype(np.uint16)


def cases() -> Any:
    rng = np.random.default_rng(21)
    random = rng.integers(0, 0x7C00, (600, 64)) | rng.integers(0, 2, (600, 64)) << 15
    narrow = (rng.integers(10, 16, (300, 1)) + rng.integers(0, 6, (300, 64))) << 10
    narrow |= rng.integers(0, 1024, narrow.shape)
    lanes = np.concatenate([corner_lanes(), random, narrow]).astype(np.uint16)
    repeated = np.repeat(lanes, 3, axis=0)
    mode = np.arange(len(repeated)) % 3
    _, exponents, _ = decode_fp16(repeated)
    room = 60 - exponents
    reference = exponents + rng.integers(0, 1 << 30, room.shape) % (room + 1)
    return repeated, mode == 1, mode == 2, reference


@pytest.mark.cpp
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_aligned_blocks_equal_the_golden_ones(aligners, tmp_path, stall):
    lanes, int4, given, reference = cases()
    values = {"lanes": lanes, "int4": int4, "given": given, "reference": reference}
    run = aligners.run({"i": values}, {"o": len(lanes)}, folder=tmp_path, stall=stall, seed=3)
    wide, exponent = align_block(lanes, 17)
    narrow, _ = align_block(lanes, 14)
    own = align_to(lanes, reference, 17)
    expected = np.where(int4[:, None], narrow, np.where(given[:, None], own, wide))
    got = run.outputs["o"]
    np.testing.assert_array_equal(got["aligned"], expected)
    np.testing.assert_array_equal(got["exponent"], exponent)
    np.testing.assert_array_equal(got["plain"], wide)
    np.testing.assert_array_equal(got["plain_exponent"], exponent)
    if not stall:
        assert set((run.out_cycles["o"] - run.in_cycles["i"]).tolist()) == {ALIGNER_CYCLES}
        assert set(np.diff(run.out_cycles["o"]).tolist()) == {1}
