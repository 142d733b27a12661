"""Payloads between sequencer and units: instructions as they are issued, and what ends them."""

from amaranth.lib import data

from hwroute.isa.parts import TARGET
from hwroute.rtl.decoder import WORD

INDEX_BITS = TARGET.bits
"""Of an instruction's index in its program."""
REGISTER_BITS = 32

ISSUED = data.StructLayout(
    {
        "word": WORD,
        "index": INDEX_BITS,
        "position": REGISTER_BITS,
        "rows": REGISTER_BITS,
        "value": REGISTER_BITS,
    }
)
"""An instruction with the registers as they were at issue.

Fields: word, as fetched and found legal; index; position and rows, the registers of these names;
value, that of the instruction's first REGISTER field, 0 without one.
"""

DONE = data.StructLayout({"error": 1, "index": INDEX_BITS})
"""The end of an instruction, in order of issue: all it writes is written, or it failed."""
