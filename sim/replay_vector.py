"""Replay element-wise operations: RMSNorm apply, rotary embedding, SwiGLU, residual, division."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwroute.column_format import LANES
from hwroute.isa.fields import lines_of
from hwroute.models.golden import Golden
from hwroute.operations import Operator
from hwroute.rtl.vector_layouts import FLOAT_WORDS, VectorOperation
from hwroute.sim.record import Recorded
from hwroute.sim.replay import same_but
from hwroute.trace import Record

OUTPUTS: Mapping[Operator, str] = {
    Operator.NORMALISE: "normed",
    Operator.ROTATE: "rotated",
    Operator.SWIGLU: "hidden",
    Operator.ADD: "out",
    Operator.ATTEND: "heads",
    Operator.ARGMAX: "token",
}
"""What the unit computes of an operation."""


@dataclass(frozen=True, kw_only=True)
class Vectors:
    """Vectors of one operation, all of one length, and what comes with them.

    Parameters
    ----------
    operation
        What is done to them.
    x
        FP16 patterns or FP32 [vectors, n].
    y
        FP16 patterns [vectors, n], if there are any.
    statistic
        FP32 [vectors].
    group
        Vectors whose results are packed one behind the other.
    inverse, epsilon
        Constants of RMSNorm.
    """

    operation: VectorOperation
    x: NDArray[Any]
    y: NDArray[np.uint16] | None = None
    statistic: NDArray[np.float32] | None = None
    group: int = 1
    inverse: float = 0.0
    epsilon: float = 0.0

    def lines(self) -> dict[str, NDArray[Any]]:
        """Return the payloads of the unit's input stream."""
        count, length = self.x.shape
        is_float = self.x.dtype == np.float32
        width = LANES // FLOAT_WORDS if is_float else LANES
        x = _padded(self.x, width)
        order = np.tile(np.arange(x.shape[1] // width), count)
        vector = np.repeat(np.arange(count), x.shape[1] // width)
        ends = order == order[-1]
        y = np.zeros((len(order), LANES), np.uint16)
        if self.y is not None:
            y = _padded(self.y, LANES).reshape(y.shape)
        statistic = np.zeros(count, np.float32) if self.statistic is None else self.statistic
        constant = np.ones(len(order), np.float32)
        return {
            "operation": np.full(len(order), self.operation.value),
            "first": (order == 0) & (vector % self.group == 0),
            "last": ends & (vector % self.group == self.group - 1),
            "offset": np.zeros(len(order), np.int64),
            "count": np.minimum(length - order * width, width) if is_float else 0 * order,
            "statistic": _patterns(statistic)[vector],
            "inverse": _patterns(constant * np.float32(self.inverse)),
            "epsilon": _patterns(constant * np.float32(self.epsilon)),
            "base": order * width,
            "x": np.ascontiguousarray(x).view(np.uint16).reshape(-1, LANES),
            "y": y,
        }


class VectorReplay:
    """Element-wise operations of a run as lines of `hwroute.rtl.npe.NPE`.

    Of attention it runs the division by the row sum, of a residual the rows that get an addend.

    Parameters
    ----------
    golden
        Its weights.
    operations
        All of a run; those in `OUTPUTS` are replayed.
    """

    name = "npe"
    settings: Mapping[str, int] = {}

    def __init__(self, golden: Golden, operations: Sequence[Recorded]):
        self._model = golden
        self.operations = [item for item in operations if item.operation.operator in OUTPUTS]
        self.golden = [self._golden(item) for item in self.operations]

    @staticmethod
    def _golden(item: Recorded) -> Record:
        name = OUTPUTS[item.operation.operator]
        value = item.record.outputs[name]
        if item.operation.operator is Operator.ADD:
            value = value[item.record.rows]
        return same_but(item.record, {name: value})

    @cached_property
    def inputs(self) -> Mapping[str, Any]:
        """Lines of every vector."""
        parts = [self._vectors(item).lines() for item in self.operations]
        return {"i": {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}}

    def _vectors(self, item: Recorded) -> Vectors:
        kind = item.operation.operator
        if kind is Operator.NORMALISE:
            x, squares = item.inputs
            gain = self._model.weights.vector(item.operation.weights[0])
            return Vectors(
                operation=VectorOperation.NORMALISE,
                x=x,
                y=np.broadcast_to(gain, x.shape),
                statistic=squares,
                inverse=1 / x.shape[1],
                epsilon=self._model.shape.norm_eps,
            )
        if kind is Operator.ROTATE:
            return self._rotation(item)
        if kind is Operator.SWIGLU:
            pairs = np.stack(item.inputs, axis=-1)
            return Vectors(operation=VectorOperation.SWIGLU, x=pairs.reshape(len(pairs), -1))
        if kind is Operator.ADD:
            return Vectors(operation=VectorOperation.RESIDUAL, x=item.inputs[0], y=item.inputs[1])
        if kind is Operator.ARGMAX:
            return Vectors(operation=VectorOperation.ARGMAX, x=item.inputs[0])
        mixed, total = (item.record.outputs[name] for name in ("mixed", "sum"))
        return Vectors(
            operation=VectorOperation.DIVIDE,
            x=mixed.reshape(-1, mixed.shape[-1]),
            statistic=total.reshape(-1),
            group=mixed.shape[1],
        )

    def _rotation(self, item: Recorded) -> Vectors:
        letter = "q" if ".q." in item.operation.name else "k"
        positions = item.record.position + item.record.rows
        # Cosines and sines alternate.
        table = np.stack([part[positions] for part in self._model.weights.rotary[letter]], axis=-1)
        heads = item.inputs[0].reshape(-1, self._model.shape.head_dim)
        table = np.repeat(table.reshape(len(positions), -1), len(heads) // len(positions), axis=0)
        return Vectors(operation=VectorOperation.ROTATE, x=heads, y=table)

    @cached_property
    def expect(self) -> Mapping[str, int]:
        """One line for 64 results of a vector, one token a row of logits."""
        lines = sum(len(record.rows) * self._lines(record) for record in self._of_lines())
        tokens = sum(len(record.outputs.get("token", ())) for record in self.golden)
        return {"o": lines, "token": tokens}

    def _of_lines(self) -> list[Record]:
        return [record for record in self.golden if "token" not in record.outputs]

    def _lines(self, record: Record) -> int:
        """Return the output lines of a row."""
        (value,) = record.outputs.values()
        if record.operator == Operator.ROTATE.value:
            return int(value.shape[1] * lines_of(value.shape[2]))
        return lines_of(value.shape[1])

    def records(self, outputs: Mapping[str, Any]) -> list[Record]:
        """Return the unit's results."""
        lanes = np.asarray(outputs["o"]["lanes"]).astype(np.uint16)
        tokens = np.asarray(outputs["token"]["token"])
        records = []
        for record in self.golden:
            ((name, golden),) = record.outputs.items()
            if name == "token":
                found, tokens = tokens[: len(golden)], tokens[len(golden) :]
            else:
                count = len(record.rows) * self._lines(record)
                taken, lanes = lanes[:count], lanes[count:]
                # Vectors are padded to lines, each by itself.
                padded = taken.reshape(*golden.shape[:-1], -1)
                found = padded[..., : golden.shape[-1]]
            records.append(same_but(record, {name: found}))
        return records


def _padded(array: NDArray[Any], width: int) -> NDArray[Any]:
    """Pad vectors [vectors, n] with zeros to whole lines of `width` elements."""
    return np.pad(array, [(0, 0), (0, -array.shape[1] % width)])


def _patterns(values: NDArray[np.float32]) -> NDArray[np.uint32]:
    return np.ascontiguousarray(values, np.float32).view(np.uint32)
