"""Replay matrix products on the PE array: projections, head, scores, probabilities by values."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwroute.config import Config
from hwroute.models.golden import Golden
from hwroute.operations import Operator
from hwroute.rtl.column_ports import ColumnShape
from hwroute.sim.array_beats import Scheduler
from hwroute.sim.record import Recorded
from hwroute.sim.replay import of_kinds, same_but
from hwroute.trace import Record

PRODUCTS = (Operator.MATMUL, Operator.HEAD, Operator.SCORES, Operator.ATTEND)


class ArrayReplay:
    """Products of a run as streams of `PEArray`, compared at partial-sum width.

    Parameters
    ----------
    config
        Of the array.
    golden
        Its weights, and its columns for the FP32 results behind the trace's FP16 ones.
    operations
        All of a run; those with a product are replayed.
    """

    name = "array"
    settings: Mapping[str, int] = {}

    def __init__(self, config: Config, golden: Golden, operations: Sequence[Recorded]):
        self.config = config
        self._model = golden
        self.operations = of_kinds(operations, *PRODUCTS)
        self.golden = [self._golden(item) for item in self.operations]

    def _golden(self, item: Recorded) -> Record:
        outputs, kind = item.record.outputs, item.operation.operator
        if kind is Operator.HEAD:
            return same_but(item.record, {"product": outputs["logits"]})
        if kind is Operator.ATTEND:
            return same_but(item.record, {"product": outputs["mixed"]})
        if kind is Operator.SCORES:
            return same_but(item.record, {"product": self._scores(item)})
        weights = self._model.weights.matrix(item.operation.weights[0])
        product = self._model.columns.matmul(item.inputs[0], weights)
        return same_but(item.record, {"product": product})

    def _scores(self, item: Recorded) -> NDArray[np.float32]:
        """Return q . k [rows, heads, entries] in FP32."""
        q, keys = item.inputs[0], item.kv[0]
        rows, heads, width = q.shape
        grouped = q.transpose(1, 0, 2).reshape(len(keys), -1, width)
        product = self._model.columns.scores(grouped, keys[..., :width])
        return product.reshape(heads, rows, -1).transpose(1, 0, 2)

    @cached_property
    def schedule(self) -> Scheduler:
        """Beats of every operation, in order."""
        scheduler = Scheduler(ColumnShape.of(self.config), self.config.array.accumulator_rows)
        for owner, item in enumerate(self.operations):
            kind = item.operation.operator
            if kind is Operator.SCORES:
                scheduler.scores(owner, item.inputs[0], item.kv[0])
            elif kind is Operator.ATTEND:
                values, exponents = item.kv
                visible = item.inputs[1]
                reference = np.where(visible[None, :, :, None], exponents[:, None], 0).max(axis=2)
                p = item.record.outputs["probabilities"]
                scheduler.values(owner, p, values, reference, self._model.shape.head_dim)
            else:
                weights = self._model.weights.int4(item.operation.weights[0])
                scheduler.matmul(owner, item.inputs[0], weights.values, weights.scales)
        return scheduler

    @cached_property
    def inputs(self) -> Mapping[str, Any]:
        """Beats of ``x``, tiles of ``w``, vectors of ``kv``."""
        beats, shape = self.schedule.beats, ColumnShape.of(self.config)
        columns = self.config.array.columns
        return {
            "x": {
                "lanes": np.array(beats.lanes, np.uint16).reshape(-1, 64),
                **{name: np.array(column, np.int64) for name, column in beats.x.items()},
            },
            "w": {
                "weights": np.array(beats.weights, np.int8).reshape(-1, columns, 64),
                "scales": np.array(beats.scales, np.uint16).reshape(-1, columns),
            },
            "kv": {
                "vectors": np.array(beats.vectors, np.uint16).reshape(-1, shape.vectors, 64),
                "values": np.array(beats.values, np.int64),
                "last": np.array(beats.last, np.int64),
            },
        }

    @cached_property
    def expect(self) -> Mapping[str, int]:
        """One payload a finished row."""
        return {"o": len(self.schedule.beats.places)}

    def records(self, outputs: Mapping[str, Any]) -> list[Record]:
        """Return the array's products."""
        rows = np.asarray(outputs["o"]["columns"]).astype(np.uint32).view(np.float32)
        products = [np.zeros_like(record.outputs["product"]) for record in self.golden]
        for row, (owner, where) in zip(rows, self.schedule.beats.places, strict=True):
            target = products[owner][where]
            target[...] = row[: len(target)]
        return [
            same_but(record, {"product": product})
            for record, product in zip(self.golden, products, strict=True)
        ]
