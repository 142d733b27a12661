"""The KV memory system: directory, history buffer and a log of what it was asked (docs/kv.md)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwroute.config import KVConfig
from hwroute.kv import SLOT_FIELDS, KVOp
from hwroute.models.ops.kv_directory import KVDirectory, Slot
from hwroute.models.ops.kv_rounds import HistoryBuffer, Round, rounds_to_records


@dataclass(frozen=True, kw_only=True)
class KVRequest:
    """A request to the KV memory system and the record of its answer.

    Parameters
    ----------
    op
        What is asked.
    layer, token
        Of WRITE, SKIP and EVICT; PREPARE and ATTEND concern tokens 0 to ``token - 1``.
    look_ahead
        Of PREPARE and ATTEND.
    record
        ATTEND: [entries, len(ORDER_FIELDS)]; WRITE: [1, len(SLOT_FIELDS)]; else None.
    """

    op: KVOp
    layer: int = 0
    token: int = 0
    look_ahead: bool = False
    record: NDArray[np.int64] | None = None


class KVMemory:
    """KV directory and history buffer of one sequence.

    DENSE writes every token at every layer; REUSE writes those that execute and skips the others;
    EVICT writes those that execute and evicts the others.

    Parameters
    ----------
    config
        Geometry.
    log
        Every request is appended to it with its answer, to be replayed on the RTL
        (`hwroute.sim.replay_kv`); None keeps no log.
    """

    def __init__(self, config: KVConfig, log: list[KVRequest] | None = None):
        self.config = config
        self.log = log
        self.directory = KVDirectory(config)
        self.buffer = HistoryBuffer(config, self.directory)

    def reset(self) -> None:
        """Begin a new sequence."""
        self.directory.reset()
        self.buffer.invalidate()
        self._note(KVRequest(op=KVOp.RESET))

    def write(self, layer: int, token: int) -> Slot:
        """Give a token that executes at `layer` a slot of its own, and return it."""
        slot = self.directory.write(layer, token)
        record = np.array([slot], np.int64).reshape(1, len(SLOT_FIELDS))
        self._note(KVRequest(op=KVOp.WRITE, layer=layer, token=token, record=record))
        return slot

    def skip(self, layer: int, token: int) -> None:
        """KV rule *reuse*: at `layer` the token has what it has at the layer before."""
        self.directory.skip(layer, token)
        self._note(KVRequest(op=KVOp.SKIP, layer=layer, token=token))

    def evict(self, layer: int, token: int) -> None:
        """KV rule *evict*: the token has no entry at `layer`."""
        self.directory.evict(layer, token)
        self._note(KVRequest(op=KVOp.EVICT, layer=layer, token=token))

    def prepare(self, layer: int, count: int, look_ahead: bool) -> None:
        """Let hardware start on an `attend` that may follow; nothing changes here."""
        self._note(KVRequest(op=KVOp.PREPARE, layer=layer, token=count, look_ahead=look_ahead))

    def attend(self, layer: int, count: int, look_ahead: bool) -> list[Round]:
        """Return the order of the entries of tokens 0 to `count` - 1; `HistoryBuffer.attend`."""
        rounds = self.buffer.attend(layer, count, look_ahead)
        self._note(
            KVRequest(
                op=KVOp.ATTEND,
                layer=layer,
                token=count,
                look_ahead=look_ahead,
                record=rounds_to_records(rounds),
            )
        )
        return rounds

    def invalidate(self) -> None:
        """Forget what the history buffer holds: the token skips this layer's attention."""
        self.buffer.invalidate()
        self._note(KVRequest(op=KVOp.INVALIDATE))

    def _note(self, request: KVRequest) -> None:
        if self.log is not None:
            self.log.append(request)
