"""Schedules of the PE array: beats and tiles for one operation, in the order of consumption.

Results leave in the order of the beats that end their rows; each schedule says where they belong.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwroute.rtl.array_layouts import Mode
from hwroute.rtl.column_ports import ColumnShape

LANES = 64
X_FIELDS = ("mode", "reference", "part", "slot", "first", "last", "hold")
Array = NDArray[Any]


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
        columns = self.shape.columns
        tiles = -(-len(values) // columns)
        blocks = x.shape[1] // LANES
        per_scale = scales.shape[1] / blocks
        token_step = min(len(x), self.rows)
        tile_step = max(1, self.rows // token_step)
        for tile_start in range(0, tiles, tile_step):
            group = range(tile_start, min(tiles, tile_start + tile_step))
            for token_start in range(0, len(x), token_step):
                tokens = range(token_start, min(len(x), token_start + token_step))
                for block in range(blocks):
                    lanes = slice(block * LANES, (block + 1) * LANES)
                    for place, tile in enumerate(group):
                        part = slice(tile * columns, (tile + 1) * columns)
                        self._weights(values[part, lanes], scales[part, int(block * per_scale)])
                        for token in tokens:
                            last = block == blocks - 1
                            slot = place * len(tokens) + token - token_start
                            self.beats.beat(
                                x[token, lanes], Mode.INT4, slot=slot, first=block == 0,
                                last=last, hold=token != tokens[-1],
                            )  # fmt: skip
                            if last:
                                self._place(owner, (token, part))

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
        padded = np.zeros((rows, heads, keys.shape[2]), np.uint16)
        padded[..., :width] = q
        for kv_head, entries in enumerate(keys):
            queries = [(row, kv_head * shared + i) for i in range(shared) for row in range(rows)]
            for chunk in _chunks(queries, self.rows):
                for start in range(0, len(entries), columns):
                    part = slice(start, start + columns)
                    for block in range(blocks):
                        lanes = slice(block * LANES, (block + 1) * LANES)
                        self.beats.kernel(entries[part, lanes], self.shape, values=False)
                        for slot, (row, head) in enumerate(chunk):
                            last = block == blocks - 1
                            self.beats.beat(
                                padded[row, head, lanes], Mode.SCORES, slot=slot,
                                first=block == 0, last=last, hold=slot < len(chunk) - 1,
                            )  # fmt: skip
                            if last:
                                self._place(owner, (row, head, part))

    def values(self, owner: int, p: Array, values: Array, reference: Array, width: int) -> None:
        """FP16 p [rows, heads, entries] by values [kv_heads, entries, padded d]: a lane an entry.

        reference: biased exponents [kv_heads, rows, blocks]; width: dimensions of a head.
        """
        rows, heads, entries = p.shape
        shared = heads // len(values)
        tiles = range(0, entries, LANES)
        padded = np.zeros((rows, heads, len(tiles) * LANES), np.uint16)
        padded[..., :entries] = p
        for kv_head, vectors in enumerate(values):
            queries = [(row, kv_head * shared + i) for i in range(shared) for row in range(rows)]
            for block in range(vectors.shape[1] // LANES):
                dimensions = min(LANES, width - block * LANES)
                parts = -(-dimensions // self.shape.fp16_columns)
                for chunk in _chunks(queries, self.rows // parts):
                    for start in tiles:
                        tile = vectors[start : start + LANES, block * LANES : (block + 1) * LANES]
                        self.beats.kernel(tile, self.shape, values=True)
                        beats = [(part, query) for part in range(parts) for query in chunk]
                        for slot, (part, (row, head)) in enumerate(beats):
                            last = start == tiles[-1]
                            self.beats.beat(
                                padded[row, head, start : start + LANES], Mode.VALUES, slot=slot,
                                part=part, reference=int(reference[kv_head, row, block]),
                                first=start == 0, last=last, hold=slot < len(beats) - 1,
                            )  # fmt: skip
                            if last:
                                at = block * LANES + part * self.shape.fp16_columns
                                self._place(
                                    owner, (row, head, slice(at, at + self.shape.fp16_columns))
                                )

    def _place(self, owner: int, where: tuple[Any, ...]) -> None:
        self.beats.places.append((owner, where))


def _chunks(items: list[Any], size: int) -> list[list[Any]]:
    return [items[start : start + size] for start in range(0, len(items), size)]
