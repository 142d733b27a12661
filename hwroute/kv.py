"""What a KV memory system is asked to do, and the fields of what it answers (docs/kv.md)."""

from enum import IntEnum

ORDER_FIELDS = (
    "round",
    "token",
    "hit",
    "source_layer",
    "port",
    "slot",
    "keep",
    "bank",
    "place",
)
"""Columns of an order record: one row for each entry, in the order of consumption.

``hit`` is 1 where the entry comes from bank ``bank``, place ``place`` of the history buffer, and 0
where it comes from slot ``slot`` of HBM port ``port``; ``keep`` is 1 where it is in ``bank``,
``place`` afterwards. ``bank`` and ``place`` are 0 where both are 0.
"""

SLOT_FIELDS = ("port", "slot")
"""Columns of a slot record: where K and V of one token and layer are written."""


class KVOp(IntEnum):
    """A request to the KV memory system; the values are the RTL's encoding."""

    RESET = 0
    """Forget the sequence: every slot is free, the buffer invalid."""
    WRITE = 1
    """Give a token that executes at a layer a slot of its own."""
    SKIP = 2
    """KV rule *reuse*: at this layer the token has the entry of the layer before."""
    EVICT = 3
    """KV rule *evict*: at this layer the token has no entry."""
    PREPARE = 4
    """Start on an ATTEND that may follow; changes no result, only how soon rounds come."""
    ATTEND = 5
    """Order the entries of tokens 0 to count - 1 at a layer into rounds."""
    INVALIDATE = 6
    """Forget what the history buffer holds."""
