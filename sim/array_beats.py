"""Schedules of the PE array: beats and tiles for one operation, in the order of consumption.

Results leave in the order of the beats that end their rows; each schedule says where they belong.
"""

from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass, field
from itertools import product
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from hwroute.models.ops.column_base import padded
from hwroute.rtl.array_layouts import Mode
from hwroute.rtl.column_ports import ColumnShape

LANES = 64
X_FIELDS = ("mode", "reference", "part", "slot", "first", "last", "hold")
Array = NDArray[Any]
T = TypeVar("T")


@dataclass
class Beats:
    """Payloads of the array's input streams, and the place of each row that comes out.

    Members
    -------
    x, lanes
        Scalar fields of the beats of ``x``, and their lanes.
    weights, scales
        Tiles of ``w``.
    vectors, values, last
        Beats of ``kv``.
    places
        For each row that comes out: index of its operation, and where its columns go in it.
    """

    x: dict[str, list[int]] = field(default_factory=lambda: {name: [] for name in X_FIELDS})
    lanes: list[Array] = field(default_factory=list)
    weights: list[Array] = field(default_factory=list)
    scales: list[Array] = field(default_factory=list)
    vectors: list[Array] = field(default_factory=list)
    values: list[bool] = field(default_factory=list)
    last: list[bool] = field(default_factory=list)
    places: list[tuple[int, tuple[Any, ...]]] = field(default_factory=list)

    def beat(self, lanes: Array, mode: Mode, **fields: int) -> None:
        """Append a beat of ``x``; fields that are not given are 0."""
        self.lanes.append(lanes)
        for name, column in self.x.items():
            column.append(mode.value if name == "mode" else int(fields.get(name, 0)))

    def kernel(self, vectors: Array, shape: ColumnShape, *, values: bool) -> None:
        """Append the beats of one tile of K or V: [count, 64] FP16, count at most a full tile."""
        full = LANES if values else shape.fp16_columns
        for start in range(0, len(vectors), shape.vectors):
            beat = np.zeros((shape.vectors, LANES), np.uint16)
            part = vectors[start : start + shape.vectors]
            beat[: len(part)] = part
            end = start + shape.vectors >= len(vectors)
            self.vectors.append(beat)
            self.values.append(values)
            self.last.append(end and len(vectors) < full)


class Scheduler:
    """Write the beats of operations for an array with a number of accumulator rows.

    Parameters
    ----------
    shape
        Of the array.
    rows
        Accumulator rows: partial sums that are open at a time.
    """

    def __init__(self, shape: ColumnShape, rows: int):
        self.shape = shape
        self.rows = rows
        self.beats = Beats()

    def matmul(self, owner: int, x: Array, values: Array, scales: Array) -> None:
        """FP16 x [T, K] by INT4 values [N, K] with FP16 scales [N, K/group].

        As many tokens as there are rows share a tile of weights; with fewer tokens, several tiles
        of columns are open at once, so that no beat waits for the row before it.
        """
        x, values = padded(x), padded(values)
        columns = self.shape.columns
        tiles = range(-(-len(values) // columns))
        blocks = x.shape[1] // LANES
        per_scale = scales.shape[1] / blocks
        token_groups = _chunks(range(len(x)), self.rows)
        tile_groups = _chunks(tiles, max(1, self.rows // len(token_groups[0])))
        for group, tokens in product(tile_groups, token_groups):
            for block, (place, tile) in product(range(blocks), enumerate(group)):
                lanes = slice(block * LANES, (block + 1) * LANES)
                part = slice(tile * columns, (tile + 1) * columns)
                self._weights(values[part, lanes], scales[part, int(block * per_scale)])
                for index, token in enumerate(tokens):
                    self._beat(
                        (owner, (token, part)),
                        x[token, lanes],
                        Mode.INT4,
                        slot=place * len(tokens) + index,
                        first=block == 0,
                        last=block == blocks - 1,
                        hold=token != tokens[-1],
                    )

    def _weights(self, values: Array, scales: Array) -> None:
        tile = np.zeros((self.shape.columns, LANES), np.int8)
        tile[: len(values)] = values
        column_scales = np.zeros(self.shape.columns, np.uint16)
        column_scales[: len(scales)] = scales
        self.beats.weights.append(tile)
        self.beats.scales.append(column_scales)

    def scores(self, owner: int, q: Array, keys: Array) -> None:
        """FP16 q [rows, heads, d] by keys [kv_heads, entries, padded d]: a column an entry."""
        columns = self.shape.fp16_columns
        rows, heads, width = q.shape
        shared = heads // len(keys)
        blocks = keys.shape[2] // LANES
        filled = np.zeros((rows, heads, keys.shape[2]), np.uint16)
        filled[..., :width] = q
        for kv_head, entries in enumerate(keys):
            chunks = _chunks(_queries(rows, shared, kv_head), self.rows)
            for chunk, start in product(chunks, range(0, len(entries), columns)):
                part = slice(start, start + columns)
                for block in range(blocks):
                    lanes = slice(block * LANES, (block + 1) * LANES)
                    self.beats.kernel(entries[part, lanes], self.shape, values=False)
                    for slot, (row, head) in enumerate(chunk):
                        self._beat(
                            (owner, (row, head, part)),
                            filled[row, head, lanes],
                            Mode.SCORES,
                            slot=slot,
                            first=block == 0,
                            last=block == blocks - 1,
                            hold=slot < len(chunk) - 1,
                        )

    def values(self, owner: int, p: Array, values: Array, reference: Array, width: int) -> None:
        """FP16 p [rows, heads, entries] by values [kv_heads, entries, padded d]: a lane an entry.

        reference: biased exponents [kv_heads, rows, blocks]; width: dimensions of a head.
        """
        rows, heads, entries = p.shape
        shared, columns = heads // len(values), self.shape.fp16_columns
        starts = range(0, entries, LANES)
        filled = np.zeros((rows, heads, len(starts) * LANES), np.uint16)
        filled[..., :entries] = p
        for (kv_head, vectors), base in product(enumerate(values), range(0, width, LANES)):
            parts = range(-(-min(LANES, width - base) // columns))
            chunks = _chunks(_queries(rows, shared, kv_head), self.rows // len(parts))
            for chunk, start in product(chunks, starts):
                lanes = slice(start, start + LANES)
                self.beats.kernel(vectors[lanes, base : base + LANES], self.shape, values=True)
                for slot, (part, (row, head)) in enumerate(product(parts, chunk)):
                    at = base + part * columns
                    self._beat(
                        (owner, (row, head, slice(at, at + columns))),
                        filled[row, head, lanes],
                        Mode.VALUES,
                        slot=slot,
                        part=part,
                        reference=int(reference[kv_head, row, base // LANES]),
                        first=start == 0,
                        last=start == starts[-1],
                        hold=slot < len(parts) * len(chunk) - 1,
                    )

    def _beat(
        self, place: tuple[int, tuple[Any, ...]], lanes: Array, mode: Mode, **fields: int
    ) -> None:
        """Append a beat, and where its row goes if it ends one."""
        self.beats.beat(lanes, mode, **fields)
        if fields["last"]:
            self.beats.places.append(place)


def _queries(rows: int, shared: int, kv_head: int) -> list[tuple[int, int]]:
    """Return (row, head) of every query that reads a KV head."""
    return [(row, kv_head * shared + index) for index in range(shared) for row in range(rows)]


def _chunks(items: SequenceOf[T], size: int) -> list[SequenceOf[T]]:
    return [items[start : start + size] for start in range(0, len(items), size)]
