"""What the sequencer is told at the start, and what it says at the end."""

from amaranth.lib import data

from hwroute.csr import ARGUMENT_BITS, SEQUENCER_COUNTERS, STATUS_BITS, Error
from hwroute.isa.fields import QUEUED
from hwroute.rtl.issue_layouts import INDEX_BITS

UNITS = len(QUEUED)
ARGUMENTS = data.StructLayout(dict(ARGUMENT_BITS))
"""Arguments of a run; they stay as they are while it goes on."""
ERROR = data.StructLayout(
    {
        "code": STATUS_BITS["error"],
        "unit": STATUS_BITS["error_unit"],
        "index": STATUS_BITS["error_index"],
    }
)
"""An error, as `hwroute.csr` describes the registers; code 0 is none."""
EVENTS = data.StructLayout(dict.fromkeys(SEQUENCER_COUNTERS, 1))
"""What the counters of these names add in a cycle."""
UNIT_STATE = data.StructLayout(
    {
        "pending": 1,
        "in_flight": 1,
        "blocked": 1,
        "failed": 1,
        "lost": 1,
        "next_index": INDEX_BITS,
        "oldest_index": INDEX_BITS,
    }
)
"""How a unit and its queue are, as `hwroute.rtl.unit_queue.UnitQueue` says.

``failed`` and ``lost``: the oldest instruction ends in this cycle, with an error; with a token that
its counter has no room for.
"""
assert ERROR["code"].width >= max(Error).bit_length()
assert ERROR["index"].width == INDEX_BITS
