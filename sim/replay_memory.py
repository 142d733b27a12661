"""Replay the KV memory's part of a run: where entries are written, in which order they are read."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwroute.config import KVConfig
from hwroute.kv import ORDER_FIELDS, SLOT_FIELDS
from hwroute.models.ops.kv import KVRequest
from hwroute.operations import Operator
from hwroute.shape import ModelShape
from hwroute.sim.record import Recorded
from hwroute.sim.replay import of_kinds, same_but
from hwroute.sim.replay_kv import KVReplay, order_payloads, replay
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
    settings: Mapping[str, int] = {}

    def __init__(self, operations: Sequence[Recorded], requests: Sequence[KVRequest]):
        self.operations = of_kinds(operations, Operator.KV_WRITE, Operator.KV_ORDER)
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
        answers = self._replay.split(outputs)
        records = []
        for item in self.operations:
            found = [answer for answer in answers[slice(*item.requests)] if answer is not None]
            if item.operation.operator is Operator.KV_ORDER:
                records.append(same_but(item.record, {"order": found[0]}))
                continue
            slots = np.concatenate([*found, np.zeros((0, len(SLOT_FIELDS)), np.int64)])
            records.append(same_but(item.record, {"slots": slots}))
        return records


class KVDataReplay:
    """K and V of a run as data that `KVReadPath` brings from HBM ports and history buffer.

    The buffer has state, so the orders of all operations up to the last one asked for are replayed.

    Parameters
    ----------
    kv
        Geometry.
    shape
        Of the model: heads and their width, without padding.
    operations
        All of the run up to the last one to compare.
    chosen
        Those to compare.
    """

    name = "kv-buffer"

    def __init__(
        self,
        kv: KVConfig,
        shape: ModelShape,
        operations: Sequence[Recorded],
        chosen: Sequence[Recorded],
    ):
        self.kv = kv
        self.beats = -(-16 * shape.kv_dim // kv.beat_bits)
        self.settings: Mapping[str, int] = {"beats": self.beats}
        self._width = shape.head_dim
        self._orders = of_kinds(operations, Operator.KV_ORDER)
        self._data = [self._entries(item) for item in self._orders]
        wanted = {item.record.id for item in chosen}
        self._compared = [item.record.id in wanted for item in self._orders]
        self.golden = self._records(self._data)

    def _entries(self, item: Recorded) -> NDArray[np.uint64]:
        """Return K and V of the entries, in order: [2, entries, beats, words of 64 bits]."""
        tokens = item.record.outputs["order"][:, ORDER_FIELDS.index("token")]
        words = self.kv.beat_bits // 64
        parts = []
        for heads in item.kv:
            rows = heads[:, tokens, : self._width].transpose(1, 0, 2).reshape(len(tokens), -1)
            padded = np.zeros((len(tokens), self.beats * words * 4), np.uint16)
            padded[:, : rows.shape[1]] = rows
            parts.append(padded.view(np.uint64).reshape(len(tokens), self.beats, words))
        return np.stack(parts)

    def _records(self, data: Sequence[NDArray[np.uint64]]) -> list[Record]:
        pairs = zip(self._orders, data, self._compared, strict=True)
        return [
            same_but(item.record, {"keys": keys.view(np.int64), "values": values.view(np.int64)})
            for item, (keys, values), compared in pairs
            if compared
        ]

    def _places(self) -> Iterator[tuple[str, tuple[int, int, int]]]:
        """Yield the stream of every entry of every pass, and the entry's place in the data."""
        hit, port, bank = (ORDER_FIELDS.index(name) for name in ("hit", "port", "bank"))
        for number, item in enumerate(self._orders):
            rows = item.record.outputs["order"].tolist()
            for value in (0, 1):
                for index, row in enumerate(rows):
                    name = f"bank_{row[bank]}" if row[hit] else f"port_{row[port]}"
                    yield name, (number, value, index)

    @cached_property
    def _streams(self) -> dict[str, NDArray[np.uint64]]:
        """Beats of every output stream."""
        parts: dict[str, list[NDArray[np.uint64]]] = {
            **{f"port_{number}": [] for number in range(self.kv.hbm_ports)},
            **{f"bank_{number}": [] for number in range(self.kv.buffer_banks)},
        }
        for name, (number, value, index) in self._places():
            parts[name].append(self._data[number][value, index])
        empty = np.zeros((0, self.kv.beat_bits // 64), np.uint64)
        return {name: np.concatenate([empty, *part]) for name, part in parts.items()}

    @cached_property
    def inputs(self) -> Mapping[str, Any]:
        """Orders, and what memory delivers at each port."""
        orders = order_payloads([item.record.outputs["order"] for item in self._orders])
        ports = range(self.kv.hbm_ports)
        return {"i": orders, **{f"hbm_{n}": self._streams[f"port_{n}"] for n in ports}}

    @property
    def expect(self) -> Mapping[str, int]:
        """Beats of every port and bank."""
        return {name: len(beats) for name, beats in self._streams.items()}

    def records(self, outputs: Mapping[str, Any]) -> list[Record]:
        """Return the data that came out, put back in the order of its entries."""
        positions = dict.fromkeys(self._streams, 0)
        data = [np.zeros_like(part) for part in self._data]
        for name, (number, value, index) in self._places():
            start = positions[name]
            positions[name] += self.beats
            beats = np.asarray(outputs[name])[start : start + self.beats]
            data[number][value, index] = beats.astype(np.uint64)
        return self._records(data)
