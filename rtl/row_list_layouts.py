"""Ports on which the router unit lists the rows (tokens of the tile) that a plane holds."""

from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hwroute.isa.fields import PLANE
from hwroute.rtl.issue_layouts import REGISTER_BITS

ROW_BITS = 8
"""Of a row's number: a tile has at most 256 tokens."""

ROW_REQUEST = data.StructLayout({"plane": PLANE.bits, "rows": REGISTER_BITS})
"""Ask for the rows of a plane below ``rows``, the register as the instruction was issued with."""
ROW = data.StructLayout({"row": ROW_BITS, "last": 1, "empty": 1})
"""A row, in ascending order. ``empty``: there is none; the one payload that says so is ``last``."""


class RowListPort(wiring.Signature):
    """A port for row lists, as its user sees it.

    Members
    -------
    request
        Stream of `ROW_REQUEST`.
    rows
        Stream of `ROW`, up to the ``last`` for each request, in the order of the requests.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "request": Out(stream.Signature(ROW_REQUEST)),
                "rows": In(stream.Signature(ROW)),
            }
        )
