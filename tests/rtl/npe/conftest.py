"""A bench that feeds the vector unit with operations and compares it with the golden operators."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hwroute.config import Rounding
from hwroute.models.ops import vector
from hwroute.paths import build_dir
from hwroute.rtl.npe import NPE
from hwroute.rtl.vector_layouts import VectorOperation, vector_layout
from hwroute.sim.units import Run, UnitSimulation

PACKED = (VectorOperation.SWIGLU, VectorOperation.DIVIDE)


@dataclass(frozen=True, kw_only=True)
class Work:
    """One row for the unit.

    x: FP16 patterns [n]; FP32 [heads, n] for DIVIDE, [1, n] for ARGMAX. y: FP16 patterns [n].
    statistic: one, or one a head. offset: lane at which packing begins. base: id of the first
    logit. first, last: whether the logits begin and end with this row.
    """

    operation: VectorOperation
    x: Any
    y: Any = None
    statistic: Any = 1.0
    epsilon: float = 0.0
    offset: int = 0
    base: int = 0
    first: bool = True
    last: bool = True

    def result(self, keep: Any, rounding: Rounding) -> tuple[Any, bool]:
        """Return the golden results [n], zero outside `keep` [n], and whether one saturates."""
        is_swiglu = self.operation is VectorOperation.SWIGLU
        kept = np.repeat(keep, 2 if is_swiglu else 1).reshape(self.x.shape)
        x = np.where(kept, self.x, 0)
        if is_swiglu:
            return vector.swiglu(x[0::2], x[1::2], rounding)
        if self.operation is VectorOperation.DIVIDE:
            total = np.broadcast_to(np.float32(self.statistic), len(x))
            patterns, flag = vector.divide(x.astype(np.float32), total, rounding)
            return patterns.ravel(), flag
        if self.operation is VectorOperation.RESIDUAL:
            return vector.add(x, np.where(keep, self.y, 0), rounding)
        row = x[None]
        if self.operation is VectorOperation.NORMALISE:
            squares = np.array([self.statistic], np.float32)
            patterns, flag = vector.normalise(row, squares, self.y, self.epsilon, rounding)
        else:
            cosine, sine = self.y[None, 0::2], self.y[None, 1::2]
            patterns, flag = vector.rotate(row[None], cosine, sine, rounding)
        return patterns.ravel(), flag

    def lines_out(self, lanes: int, rounding: Rounding) -> list[dict[str, Any]]:
        """Return the lines to expect; each is computed alone, for its flag."""
        packed = self.operation in PACKED
        count = self.x.size // (2 if self.operation is VectorOperation.SWIGLU else 1)
        begin = self.offset if packed else 0
        total = -(-(begin + count) // lanes)
        lines = []
        for index in range(total):
            keep = (np.arange(count) + begin) // lanes == index
            results, saturated = self.result(keep, rounding)
            line = np.zeros(total * lanes, np.uint16)
            line[begin : begin + count] = results
            lines.append(
                {
                    "lanes": line[index * lanes : (index + 1) * lanes],
                    "start": 0 if index else begin,
                    "last": int(index == total - 1),
                    "saturated": int(saturated),
                }
            )
        return lines

    def lines_in(self, lanes: int) -> list[dict[str, Any]]:
        """Return the payloads of the input stream."""
        floats = self.x.dtype == np.float32
        width = lanes // 2 if floats else lanes
        rows = np.atleast_2d(self.x)
        statistics = np.broadcast_to(np.float32(self.statistic), len(rows))
        zeros = np.zeros(self.x.size, np.uint16)
        y = _tiles(zeros if self.y is None or floats else self.y, lanes)
        records = []
        for row, statistic in zip(rows, statistics, strict=True):
            for index, line in enumerate(_tiles(row, width)):
                records.append(
                    {
                        "operation": self.operation.value,
                        "first": 0,
                        "last": 0,
                        "offset": self.offset,
                        "count": min(width, len(row) - index * width) if floats else 1,
                        "statistic": bits(statistic),
                        "inverse": bits(1 / self.x.shape[-1]),
                        "epsilon": bits(self.epsilon),
                        "base": self.base + index * width,
                        "x": line.view(np.uint16),
                        "y": y[index % len(y)],
                    }
                )
        records[0]["first"], records[-1]["last"] = int(self.first), int(self.last)
        return records


class Bench:
    """A vector unit in Verilator whose every output is compared with the golden one."""

    work = Work

    def __init__(self, lanes: int, rounding: Rounding):
        self.lanes = lanes
        self.rounding = rounding
        self.simulation = UnitSimulation(NPE(rounding, lanes=lanes), folder=build_dir())

    def check(self, folder: Path, batch: Sequence[Work], stall: float = 0.0) -> Run:
        """Feed rows, then compare every line and every token."""
        records = [record for work in batch for record in work.lines_in(self.lanes)]
        names = [name for name, _ in vector_layout(self.lanes)]
        fields = {name: np.array([record[name] for record in records]) for name in names}
        owners: list[Work] = []
        lines: list[dict[str, Any]] = []
        for work in batch:
            if work.operation is not VectorOperation.ARGMAX:
                lines += work.lines_out(self.lanes, self.rounding)
                owners += [work] * (len(lines) - len(owners))
        tokens = _tokens(batch)
        expect = {"o": len(lines), "token": len(tokens)}
        run = self.simulation.run({"i": fields}, expect, folder=folder, stall=stall, seed=3)
        got = run.outputs["o"]
        for index, (line, owner) in enumerate(zip(lines, owners, strict=True)):
            wrong = np.flatnonzero(got["lanes"][index] != line["lanes"])
            assert not wrong.size, (index, wrong, got["lanes"][index], line["lanes"], owner)
            for name in ("start", "last", "saturated"):
                assert got[name][index] == line[name], (index, name, owner)
        logits = run.outputs["token"]["logit"].astype(np.uint32).view(np.float32)
        found = zip(run.outputs["token"]["token"].tolist(), logits.tolist(), strict=True)
        assert list(found) == tokens
        return run


def _tokens(batch: Sequence[Work]) -> list[tuple[int, float]]:
    """Return token and logit of every row of logits; np.argmax takes the first of equal ones."""
    tokens = []
    logits: dict[int, float] = {}
    for work in batch:
        if work.operation is VectorOperation.ARGMAX:
            logits = {} if work.first else logits
            logits |= {work.base + index: float(value) for index, value in enumerate(work.x[0])}
            if work.last:
                ids = sorted(logits)
                token = ids[int(np.argmax([logits[one] for one in ids]))]
                tokens.append((token, logits[token]))
    return tokens


def _tiles(row: Any, width: int) -> Any:
    """Pad a row with zeros to whole lines [lines, width]."""
    return np.pad(row, (0, -len(row) % width)).reshape(-1, width)


def bits(value: Any) -> int:
    """Return an FP32 pattern."""
    return int(np.float32(value).view(np.uint32))


@pytest.fixture(scope="session")
def npe() -> Bench:
    """Build the unit at full width."""
    return Bench(64, Rounding.NEAREST_EVEN)


@pytest.fixture(scope="session")
def truncating() -> Bench:
    """Build a narrow unit that rounds toward zero."""
    return Bench(8, Rounding.TOWARD_ZERO)
