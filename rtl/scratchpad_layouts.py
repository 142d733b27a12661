"""Ports of the scratchpad."""

from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hwroute.isa.fields import LINE_ELEMENTS

LINE_NUMBER_BITS = 32
"""Room for the largest sum of address and pitches that an instruction can ask for (scores:
65535 + 65279 * 65535 and the lines of a head), so that nothing wraps into the scratchpad."""
LINE = data.ArrayLayout(16, LINE_ELEMENTS)
"""A line: FP16 patterns, or halves of FP32, low half first."""

READ = data.StructLayout({"line": LINE_NUMBER_BITS})
"""Request to read a line."""
WRITE = data.StructLayout({"line": LINE_NUMBER_BITS, "data": LINE, "mask": LINE_ELEMENTS})
"""Request to write the elements of a line whose bit of ``mask`` is set."""


class ReadPort(wiring.Signature):
    """A read port, as its user sees it: requests out, lines in, in the order of the requests.

    Members
    -------
    request
        Stream of `READ`.
    response
        Stream of `LINE`, one for each request.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "request": Out(stream.Signature(READ)),
                "response": In(stream.Signature(LINE)),
            }
        )


class WritePort(wiring.Signature):
    """A write port, as its user sees it; a write is over when it is accepted.

    Members
    -------
    request
        Stream of `WRITE`.
    """

    def __init__(self) -> None:
        super().__init__({"request": Out(stream.Signature(WRITE))})
