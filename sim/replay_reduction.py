"""Replay row reductions: sums of squares beside the router's products, softmax statistics."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwroute.models.ops.column_base import blocks_of, padded
from hwroute.models.weights import MachineWeights
from hwroute.operations import Operator
from hwroute.rtl.accumulation import SLOT_BITS
from hwroute.rtl.fused_reduction import LOGITS
from hwroute.rtl.reduction import Reduction
from hwroute.sim.record import Recorded
from hwroute.sim.replay import of_kinds, same_but
from hwroute.trace import Record

LANES = 64
SLOTS = 1 << SLOT_BITS


class SoftmaxReplay:
    """Row maxima and sums of exponentials of a run as streams of `RowReduction`.

    A row is one query of one head; its tiles are 64 entries each, in token order.

    Parameters
    ----------
    operations
        All of a run; scores and attention are replayed.
    """

    name = "reduction"
    settings: Mapping[str, int] = {}

    def __init__(self, operations: Sequence[Recorded]):
        self.operations = of_kinds(operations, Operator.SCORES, Operator.ATTEND)
        self.golden = [self._golden(item) for item in self.operations]

    @staticmethod
    def _golden(item: Recorded) -> Record:
        names = ("maximum",) if _is_scores(item) else ("probabilities", "sum")
        return same_but(item.record, {name: item.record.outputs[name] for name in names})

    @cached_property
    def inputs(self) -> Mapping[str, Any]:
        """Tiles of every row."""
        parts = [self._tiles(item) for item in self.operations]
        return {"i": {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}}

    def _tiles(self, item: Recorded) -> dict[str, NDArray[Any]]:
        scores, visible = self._scores(item)
        rows, heads, entries = scores.shape
        tiles = -(-entries // LANES)
        lanes = _padded(scores, tiles).reshape(-1, LANES)
        mask = np.broadcast_to(visible[:, None], scores.shape)
        octets = np.packbits(_padded(mask, tiles).reshape(-1, LANES), axis=-1, bitorder="little")
        order = np.tile(np.arange(tiles), rows * heads)
        is_scores = _is_scores(item)
        maximum = np.zeros((rows, heads), np.int64) if is_scores else item.inputs[2]
        function = Reduction.MAXIMUM if is_scores else Reduction.EXPONENTIALS
        zeros = np.zeros(len(order), np.int64)
        return {
            "function": np.full(len(order), function.value),
            "slot": zeros,
            "first": order == 0,
            "last": order == tiles - 1,
            "exponent": zeros,
            "maximum": np.repeat(maximum.reshape(-1), tiles),
            "mask": octets.view("<u8")[:, 0],
            "lanes": lanes.astype(np.int64),
        }

    @staticmethod
    def _scores(item: Recorded) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return scores [rows, heads, entries] and visibility [rows, entries]."""
        if _is_scores(item):
            return item.record.outputs["scores"], item.record.outputs["visible"]
        return item.inputs[0], item.inputs[1]

    @cached_property
    def expect(self) -> Mapping[str, int]:
        """One result a row, one tile of probabilities a tile of exponentials."""
        counts = {"o": 0, "p": 0}
        for item in self.operations:
            rows, heads, entries = self._scores(item)[0].shape
            counts["o"] += rows * heads
            counts["p"] += 0 if _is_scores(item) else rows * heads * -(-entries // LANES)
        return counts

    def records(self, outputs: Mapping[str, Any]) -> list[Record]:
        """Return the unit's maxima, sums and probabilities."""
        take_result = _taker(np.asarray(outputs["o"]["value"]))
        take_tiles = _taker(np.asarray(outputs["p"]["lanes"]))
        records = []
        for item in self.operations:
            rows, heads, entries = self._scores(item)[0].shape
            values = take_result(rows * heads).reshape(rows, heads)
            if _is_scores(item):
                maximum = values.astype(np.uint32).view(np.int32).astype(np.int64)
                records.append(same_but(item.record, {"maximum": maximum}))
                continue
            tiles = take_tiles(rows * heads * -(-entries // LANES))
            probabilities = tiles.reshape(rows, heads, -1)[..., :entries].astype(np.uint16)
            total = values.astype(np.uint32).view(np.float32)
            records.append(same_but(item.record, {"probabilities": probabilities, "sum": total}))
        return records


class FusedReplay:
    """Sums of squares and router logits of a run as rows of `FusedReduction`.

    Rows of a tile are interleaved, as many as there are slots. Operations without a router have
    zero weights, and their logits are not compared.

    Parameters
    ----------
    weights
        Of the model, for its routers.
    operations
        All of a run; reductions are replayed.
    """

    name = "fused-reduction"
    settings: Mapping[str, int] = {}

    def __init__(self, weights: MachineWeights, operations: Sequence[Recorded]):
        self._weights = weights
        self.operations = of_kinds(operations, Operator.REDUCE)
        self.golden = [item.record for item in self.operations]

    @cached_property
    def inputs(self) -> Mapping[str, Any]:
        """Tiles of every row."""
        parts = [self._tiles(item) for item in self.operations]
        return {"i": {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}}

    def _tiles(self, item: Recorded) -> dict[str, NDArray[Any]]:
        blocks = blocks_of(padded(item.inputs[0]))
        rows, count, _ = blocks.shape
        router = np.zeros((LOGITS, count, LANES), np.uint16)
        if item.operation.weights:
            router = blocks_of(padded(self._weights.vector(item.operation.weights[0])))
        order = [
            (start + slot, slot, block)
            for start in range(0, rows, SLOTS)
            for block in range(count)
            for slot in range(min(SLOTS, rows - start))
        ]
        row, slot, block = np.array(order).T
        return {
            "slot": slot,
            "first": block == 0,
            "last": block == count - 1,
            "x": blocks[row, block],
            "weights": router[:, block].transpose(1, 0, 2),
        }

    @cached_property
    def expect(self) -> Mapping[str, int]:
        """One result a row."""
        return {"o": sum(len(item.inputs[0]) for item in self.operations)}

    def records(self, outputs: Mapping[str, Any]) -> list[Record]:
        """Return the unit's sums and logits."""
        patterns = {name: np.asarray(outputs["o"][name]) for name in ("squares", "logits")}
        take = {
            name: _taker(array.astype(np.uint32).view(np.float32))
            for name, array in patterns.items()
        }
        records = []
        for item in self.operations:
            found = {name: taker(len(item.inputs[0])) for name, taker in take.items()}
            wanted = {name: found[name] for name in found if name in item.record.outputs}
            records.append(same_but(item.record, wanted))
        return records


def _is_scores(item: Recorded) -> bool:
    return item.operation.operator is Operator.SCORES


def _padded(array: NDArray[Any], tiles: int) -> NDArray[Any]:
    """Pad the last axis with zeros to whole tiles."""
    missing = tiles * LANES - array.shape[-1]
    return np.pad(array, [*[(0, 0)] * (array.ndim - 1), (0, missing)])


def _taker(array: NDArray[Any]) -> Callable[[int], NDArray[Any]]:
    """Return a function that returns the next elements of `array`."""
    position = 0

    def take(count: int) -> NDArray[Any]:
        nonlocal position
        position += count
        return array[position - count : position]

    return take
