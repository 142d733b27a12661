"""Replay routing decisions on the router unit."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from hwroute.operations import Operator
from hwroute.rtl.router import Decision
from hwroute.sim.record import Recorded
from hwroute.sim.replay import of_kinds, same_but
from hwroute.trace import Record


class RouterReplay:
    """Decisions of a run as streams of `RouterUnit`: one command a tile and plane.

    Bits are checked twice: as the list of executing tokens, and at the end of the run by reading
    every plane back.

    Parameters
    ----------
    operations
        All of a run; those that decide are replayed.
    """

    name = "router"
    settings: Mapping[str, int] = {}

    def __init__(self, operations: Sequence[Recorded]):
        self.operations = of_kinds(operations, Operator.DECIDE)
        self.golden = [self._golden(item) for item in self.operations]

    @staticmethod
    def _golden(item: Recorded) -> Record:
        (plane,) = item.record.outputs.values()
        return same_but(
            item.record,
            {
                "executing": item.record.position + np.flatnonzero(plane),
                "plane": plane,
            },
        )

    @cached_property
    def inputs(self) -> Mapping[str, Any]:
        """Commands, logits and, after all of them, queries."""
        commands: dict[str, list[int]] = {
            name: []
            for name in (
                "layer",
                "sublayer",
                "base",
                "count",
                "decision",
                "execute",
                "tie_executes",
                "forced",
            )
        }
        token, logit, last = [], [], []
        for item in self.operations:
            rule, layer = item.operation.decision, item.operation.layer
            assert rule is not None
            assert layer is not None
            decision = Decision.ROUTE
            if rule.forced is not None:
                decision = Decision.EXECUTE if rule.forced else Decision.SKIP
            values = (
                layer,
                self._sublayer(item),
                item.record.position,
                item.tile_tokens,
                decision.value,
                rule.execute,
                rule.tie_executes,
                rule.first_tokens,
            )
            for column, value in zip(commands.values(), values, strict=True):
                column.append(int(value))
            if rule.forced is None:
                token.append(item.record.position + np.arange(item.tile_tokens))
                logit.append(item.inputs[0].view(np.uint32))
                last.append(np.arange(item.tile_tokens) == item.tile_tokens - 1)
        empty = np.zeros(0, np.int64)
        return {
            "commands": {name: np.array(column) for name, column in commands.items()},
            "logits": {
                "token": np.concatenate([*token, empty]),
                "logit": np.concatenate([*logit, np.zeros((0, 2), np.uint32)]),
                "last": np.concatenate([*last, empty]),
            },
            "query": dict.fromkeys(("word", "sublayer", "layer"), empty),
        }

    @staticmethod
    def _sublayer(item: Recorded) -> int:
        return int(".ffn." in item.operation.name)

    @cached_property
    def expect(self) -> Mapping[str, int]:
        """Payloads of the output streams."""
        return {
            "tokens": sum(len(record.outputs["executing"]) for record in self.golden),
            "summary": len(self.operations),
            "bits": 0,
        }

    def records(self, outputs: Mapping[str, Any]) -> list[Record]:
        """Return the unit's decisions."""
        tokens = np.asarray(outputs["tokens"])
        counts = np.asarray(outputs["summary"]["executed"])
        records, start = [], 0
        for item, count in zip(self.operations, counts.tolist(), strict=True):
            executing = tokens[start : start + count]
            start += count
            plane = np.zeros(item.tile_tokens, np.bool_)
            inside = executing - item.record.position
            plane[inside[(inside >= 0) & (inside < item.tile_tokens)]] = True
            records.append(same_but(item.record, {"executing": executing, "plane": plane}))
        return records
