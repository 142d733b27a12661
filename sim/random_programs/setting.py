"""Configurations and memories of random Programs."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from hwroute.config import PRESETS, ArrayConfig, Config, Rounding
from hwroute.isa.fields import BEAT_BYTES, LINE_BYTES, LINE_ELEMENTS
from hwroute.memory_map import Content, MemoryMap, Region, Space

DEMO = PRESETS["demo"]
CONFIGS: tuple[Config, ...] = (
    DEMO,
    replace(
        DEMO, name="truncating", numerics=replace(DEMO.numerics, rounding=Rounding.TOWARD_ZERO)
    ),
    replace(
        DEMO,
        name="small-buffer",
        kv=replace(DEMO.kv, buffer_tokens=4, buffer_write_ports=1, entry_beats=16),
    ),
    replace(
        DEMO,
        name="narrow",
        array=ArrayConfig(columns=8, kv_vectors=1, accumulator_rows=16),
        kv=replace(DEMO.kv, hbm_ports=2, buffer_tokens=16, entry_beats=16),
    ),
    replace(
        DEMO,
        name="wide",
        array=ArrayConfig(columns=32, kv_vectors=4, accumulator_rows=8),
        kv=replace(DEMO.kv, beat_bits=512, entry_beats=16),
    ),
)
"""What a Program is made for; small, so that a run takes few cycles."""
TIED, FP16, FP32 = range(16), range(16, 256), range(256, 416)
"""Lines of the scratchpad: rows that are equal and stay, FP16 values, FP32 values."""
VOCABULARY, TABLE_LINES = 64, 2
CONTEXT = 64
"""Tokens that the ids and the KV slots have room for."""
LAYERS = 4
SCALES, SPILL = 64, 64
"""DDR lines of scales, and of those that stores go to."""
WEIGHTS = 256
"""Beats of weights in each port."""
SLOT_BEATS = 2 * 16 + 2
"""Longest slot of K and V, and a beat to spare."""
PROGRAM_LINES = 256


@dataclass(frozen=True)
class Setting:
    """Where a random Program works.

    Parameters
    ----------
    config
        The overlay.
    tile
        Most tokens of a tile.
    """

    config: Config
    tile: int

    @cached_property
    def memory(self) -> MemoryMap:
        """The regions."""
        slots = self.config.kv.slots_for(LAYERS, CONTEXT)
        regions: list[Region] = []
        ends = dict.fromkeys(Space, 0)
        for name, content, size in (
            ("ids", Content.IDS, 4 * CONTEXT // LINE_BYTES),
            ("data", Content.VECTOR, FP32.stop),
            ("scales", Content.SCALES, SCALES),
            ("table", Content.EMBEDDING, VOCABULARY * TABLE_LINES),
            ("spill", Content.VECTOR, SPILL),
            ("program", Content.PROGRAM, PROGRAM_LINES),
            ("weights", Content.MATRIX, WEIGHTS),
            ("kv", Content.KV, slots * SLOT_BEATS),
        ):
            start = ends[content.space]
            regions.append(Region(name=name, content=content, address=start, size=size))
            ends[content.space] = start + size
        return MemoryMap(regions=tuple(regions), context=CONTEXT)


def fp16_lines(numbers: np.random.Generator, count: int) -> NDArray[np.uint16]:
    """Return FP16 lines [count, 64]: magnitudes that differ from line to line, and corners."""
    scale = np.exp2(numbers.integers(-6, 5, (count, 1)))
    values = numbers.normal(size=(count, LINE_ELEMENTS)) * scale
    bits = values.astype(np.float16).view(np.uint16)
    # Zeros of both signs, subnormals, the smallest normal, one, the largest.
    corners = np.array(
        [0, 0x8000, 0x0001, 0x83FF, 0x0400, 0x8400, 0x3C00, 0xBC00, 0x7BFF, 0xFBFF], np.uint16
    )
    chosen = corners[numbers.integers(0, len(corners), bits.shape)]
    rate = numbers.choice([0, 0.02, 0.3], (count, 1), p=[0.5, 0.4, 0.1])
    bits = np.where(numbers.random(bits.shape) < rate, chosen, bits)
    kind = numbers.random(count)
    bits[kind < 0.04] = 0
    equal = kind > 0.92
    bits[equal] = bits[equal, :1]
    return bits


def fp32_lines(numbers: np.random.Generator, count: int) -> NDArray[np.uint16]:
    """Return lines [count, 64] of 32 FP32 values, far from the ends of the range, some equal."""
    values = numbers.normal(size=(count, LINE_ELEMENTS // 2)) * np.exp2(
        numbers.integers(-8, 20, (count, 1))
    )
    few = numbers.random(count) < 0.2
    values[few] = numbers.integers(-2, 3, values[few].shape)
    return np.ascontiguousarray(values.astype(np.float32)).view(np.uint16)


def random_memories(
    setting: Setting, numbers: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return HBM [ports, beats, 32] and DDR [lines, 128] without the Program."""
    memory = setting.memory
    ports = setting.config.kv.hbm_ports
    hbm = np.zeros((ports, memory.size(Space.HBM), BEAT_BYTES), np.uint8)
    weights = memory.region("weights")
    hbm[:, weights.address : weights.end] = numbers.integers(
        0, 256, (ports, WEIGHTS, BEAT_BYTES), np.uint8
    )
    ddr = np.zeros((memory.size(Space.DDR), LINE_ELEMENTS), np.uint16)
    data = memory.region("data").address
    ddr[data : data + FP16.stop] = fp16_lines(numbers, FP16.stop)
    # A router whose two rows are equal has equal logits.
    ddr[data : data + TIED.stop] = ddr[data + FP16.start]
    ddr[data + FP32.start : data + FP32.stop] = fp32_lines(numbers, len(FP32))
    table = memory.region("table")
    ddr[table.address : table.end] = fp16_lines(numbers, table.size)
    scales = numbers.normal(size=(SCALES, LINE_ELEMENTS)) / 8
    scales = np.where(np.abs(scales) < 2**-14, 1, scales)
    scale_region = memory.region("scales")
    ddr[scale_region.address : scale_region.end] = scales.astype(np.float16).view(np.uint16)
    return hbm, np.ascontiguousarray(ddr).view(np.uint8)
