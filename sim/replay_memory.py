"""Replay the KV memory's part of a run: where entries are written, in which order they are read."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from hwroute.kv import SLOT_FIELDS
from hwroute.models.ops.kv import KVRequest
from hwroute.operations import Operator
from hwroute.sim.record import Recorded
from hwroute.sim.replay import same_but
from hwroute.sim.replay_kv import KVReplay, replay
from hwroute.trace import Record


class KVOrderReplay:
    """KV writes and orders of a run as the request stream of `KVScheduler`.

    The scheduler has state, so all requests of the run are replayed, also those that belong to no
    operation; records are compared for the operations asked for.

    Parameters
    ----------
    operations
        Those to compare.
    requests
        The log of the run's KV memory, from its start.
    """

    name = "kv"

    def __init__(self, operations: Sequence[Recorded], requests: Sequence[KVRequest]):
        kinds = (Operator.KV_WRITE, Operator.KV_ORDER)
        self.operations = [item for item in operations if item.operation.operator in kinds]
        self.golden = [item.record for item in self.operations]
        self._requests = requests

    @cached_property
    def _replay(self) -> KVReplay:
        return replay(self._requests)

    @property
    def inputs(self) -> Mapping[str, Any]:
        """The requests."""
        return self._replay.inputs

    @property
    def expect(self) -> Mapping[str, int]:
        """Slots and rows of orders."""
        return self._replay.expect

    def records(self, outputs: Mapping[str, Any]) -> list[Record]:
        """Return the scheduler's slots and orders."""
        answers = self._replay.split(dict(outputs))
        records = []
        for item in self.operations:
            found = [answer for answer in answers[slice(*item.requests)] if answer is not None]
            if item.operation.operator is Operator.KV_ORDER:
                records.append(same_but(item.record, {"order": found[0]}))
                continue
            slots = np.concatenate([*found, np.zeros((0, len(SLOT_FIELDS)), np.int64)])
            records.append(same_but(item.record, {"slots": slots}))
        return records
