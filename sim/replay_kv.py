"""Replay recorded requests to the KV memory system on the RTL scheduler, record by record."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwroute.config import KVConfig
from hwroute.kv import ORDER_FIELDS, SLOT_FIELDS, KVOp
from hwroute.models.ops.kv import KVMemory, KVRequest
from hwroute.trace import Record

Streams = dict[str, dict[str, NDArray[np.int64]]]
ANSWER_FIELDS = {KVOp.ATTEND: ORDER_FIELDS, KVOp.WRITE: SLOT_FIELDS}
"""Columns of the answer to a request; others have none."""


@dataclass(frozen=True, kw_only=True)
class KVReplay:
    """Streams of `hwroute.rtl.kv_scheduler.KVScheduler` for a list of requests.

    Parameters
    ----------
    requests
        As recorded by `hwroute.models.ops.kv.KVMemory`, beginning with a reset or a new memory.
    inputs
        Payloads of the input stream by field, each [requests] int64.
    outputs
        Payloads that are expected on the output streams ``slots`` and ``o``, by field.
    """

    requests: tuple[KVRequest, ...]
    inputs: Streams
    outputs: Streams

    @property
    def expect(self) -> dict[str, int]:
        """Payloads to wait for on each output stream."""
        return {name: len(fields["port"]) for name, fields in self.outputs.items()}

    @property
    def golden(self) -> list[Record]:
        """What the golden model answered, by request."""
        return self._records([request.record for request in self.requests])

    def records(self, outputs: Mapping[str, Any]) -> list[Record]:
        """Return the RTL's answers, by request."""
        return self._records(self.split(outputs))

    def _records(self, answers: Sequence[NDArray[np.int64] | None]) -> list[Record]:
        """Return one record for each request that has an answer, one output for each field."""
        return [
            Record(
                id=number,
                operation=f"{request.op.name} layer {request.layer} token {request.token}",
                operator=request.op.name,
                position=request.token,
                rows=np.arange(len(answer)),
                outputs=dict(zip(ANSWER_FIELDS[request.op], answer.T, strict=True)),
            )
            for number, (request, answer) in enumerate(zip(self.requests, answers, strict=True))
            if answer is not None
        ]

    def split(self, outputs: Mapping[str, Any]) -> list[NDArray[np.int64] | None]:
        """Return the RTL's answer to each request, in the form of `KVRequest.record`.

        An order whose end is missing has no rows.
        """
        orders, slots = iter(order_records(outputs["o"])), iter(slot_records(outputs["slots"]))
        absent = np.zeros((0, len(ORDER_FIELDS)), np.int64)
        answers: list[NDArray[np.int64] | None] = []
        for request in self.requests:
            if request.op is KVOp.ATTEND:
                answers.append(next(orders, absent))
            elif request.op is KVOp.WRITE:
                answers.append(next(slots))
            else:
                answers.append(None)
        return answers


def decode_log(
    config: KVConfig, *, tokens: int, layers: int, skip: float, seed: int, evict: float = 0.0
) -> list[KVRequest]:
    """Record a decode of `tokens` tokens over `layers` layers with seeded random masks.

    Parameters
    ----------
    skip
        Chance that a token skips the attention of a layer after layer 0.
    evict
        Chance that it is evicted there instead of reusing the entry of the layer before.
    seed
        Of the masks, and of half of the attentions being prepared, a fifth of those wrongly.
    """
    rng = np.random.default_rng(seed)
    log: list[KVRequest] = []
    memory = KVMemory(config, log)
    memory.reset()
    for token in range(tokens):
        for layer in range(layers):
            if layer and rng.random() < skip:
                (memory.evict if rng.random() < evict else memory.skip)(layer, token)
                memory.invalidate()
                continue
            memory.write(layer, token)
            ahead = layer + 1 < layers
            if rng.random() < 0.5:
                memory.prepare(layer, token, ahead != (rng.random() < 0.2))
            memory.attend(layer, token, ahead)
    return log


def replay(requests: Sequence[KVRequest]) -> KVReplay:
    """Convert recorded requests into streams."""
    inputs = {
        "op": np.array([request.op for request in requests], np.int64),
        "look_ahead": np.array([request.look_ahead for request in requests], np.int64),
        "layer": np.array([request.layer for request in requests], np.int64),
        "token": np.array([request.token for request in requests], np.int64),
    }
    orders = [r.record for r in requests if r.op is KVOp.ATTEND and r.record is not None]
    writes = [r for r in requests if r.op is KVOp.WRITE]
    slots = np.array([r.record[0] for r in writes if r.record is not None], np.int64)
    slots = slots.reshape(-1, len(SLOT_FIELDS))
    return KVReplay(
        requests=tuple(requests),
        inputs={"i": inputs},
        outputs={
            "slots": {
                "layer": np.array([r.layer for r in writes], np.int64),
                "token": np.array([r.token for r in writes], np.int64),
                "port": slots[:, 0],
                "slot": slots[:, 1],
            },
            "o": order_payloads(orders),
        },
    )


def order_payloads(records: Sequence[NDArray[np.int64]]) -> dict[str, NDArray[np.int64]]:
    """Return order records as payloads: their rows, and an ``end`` after each record."""
    fields: dict[str, list[NDArray[np.int64]]] = {
        name: [] for name in ("end", "first", *ORDER_FIELDS[1:])
    }
    for record in records:
        rounds = record[:, 0]
        fields["end"].append(np.append(np.zeros(len(record), np.int64), 1))
        fields["first"].append(np.append(np.diff(rounds, prepend=-1), 0))
        for column, name in enumerate(ORDER_FIELDS[1:], start=1):
            fields[name].append(np.append(record[:, column], 0))
    empty = [np.zeros(0, np.int64)]
    return {name: np.concatenate(parts or empty) for name, parts in fields.items()}


def order_records(payloads: dict[str, NDArray[np.int64]]) -> list[NDArray[np.int64]]:
    """Return the order records that payloads spell: the inverse of `order_payloads`."""
    ends = np.flatnonzero(payloads["end"])
    columns = [payloads[name] for name in ORDER_FIELDS[1:]]
    records = []
    start = 0
    for end in ends:
        rounds = np.cumsum(payloads["first"][start:end]) - 1
        rows = [rounds, *(column[start:end] for column in columns)]
        records.append(np.stack(rows, axis=1).astype(np.int64))
        start = int(end) + 1
    return records


def slot_records(payloads: dict[str, NDArray[np.int64]]) -> list[NDArray[np.int64]]:
    """Return the slot record of each payload."""
    rows = np.stack([payloads["port"], payloads["slot"]], axis=1)
    return [row[None, :] for row in rows]
