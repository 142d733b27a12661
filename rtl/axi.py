"""AXI ports to memory: the only place for their widths and channels.

Each channel is a stream, whose rules are those of AXI: ``valid`` waits for nothing and is held.
All transactions of a port have one ID, so everything is answered in order; the wrapper of the
machine ties the ID to 0, the burst type to INCR, and the size to the port's full width.
"""

from dataclasses import dataclass

from amaranth.hdl import Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.enum import Enum
from amaranth.lib.wiring import In, Out

from hwroute.isa.fields import BEAT_BYTES, LINE_BYTES

ADDRESS_BITS = 64
WORD_BITS = 64
"""Of the words that data are made of in payloads."""
BURST_BYTES = 512
"""Longest burst, and what it is aligned to: it never crosses 4 KiB."""


class Response(Enum, shape=2):
    """Answer to a transaction."""

    OKAY = 0
    EXOKAY = 1
    SLVERR = 2
    DECERR = 3


def is_error(response: Value) -> Value:
    """Return whether a response says that the transaction failed."""
    return Value.cast(response)[1]


@dataclass(frozen=True, kw_only=True)
class AxiPort:
    """Widths of a port.

    Parameters
    ----------
    data_bits
        Of a beat.
    length_bits
        Of ARLEN and AWLEN: 4 in AXI3, 8 in AXI4.

    Raises
    ------
    ValueError
        Beats that are no power of two of words, or more beats in `BURST_BYTES` than a length can
        say.
    """

    data_bits: int
    length_bits: int

    def __post_init__(self) -> None:
        words, rest = divmod(self.data_bits, WORD_BITS)
        if rest or words < 1 or words & (words - 1):
            raise ValueError(
                f"Data bits must be {WORD_BITS} times a power of two, not {self.data_bits!r}"
            )
        if self.burst_beats > 1 << self.length_bits or self.burst_beats < 2:
            raise ValueError(
                f"Length bits must hold 2 to {self.burst_beats} beats, not {self.length_bits!r}"
            )

    @property
    def data_bytes(self) -> int:
        """Bytes of a beat."""
        return self.data_bits // 8

    @property
    def burst_beats(self) -> int:
        """Beats of the longest burst."""
        return BURST_BYTES // self.data_bytes

    @property
    def words(self) -> data.ArrayLayout:
        """Shape of a beat's data, in words of 64 bits."""
        return data.ArrayLayout(WORD_BITS, self.data_bits // WORD_BITS)

    @property
    def address(self) -> data.StructLayout:
        """Payload of AR and AW: byte address, and beats less one."""
        return data.StructLayout({"address": ADDRESS_BITS, "length": self.length_bits})

    @property
    def read(self) -> data.StructLayout:
        """Payload of R."""
        return data.StructLayout({"data": self.words, "response": Response, "last": 1})

    @property
    def write(self) -> data.StructLayout:
        """Payload of W; a byte is written where its strobe is set."""
        return data.StructLayout({"data": self.words, "strobe": self.data_bytes, "last": 1})

    def signature(self) -> wiring.Signature:
        """Return the port as the machine sees it.

        Members: streams ``ar``, ``aw`` (`address`), ``w`` (`write`) out, ``r`` (`read`) and ``b``
        (`Response`) in.
        """
        return wiring.Signature(
            {
                "ar": Out(stream.Signature(self.address)),
                "r": In(stream.Signature(self.read)),
                "aw": Out(stream.Signature(self.address)),
                "w": Out(stream.Signature(self.write)),
                "b": In(stream.Signature(Response)),
            }
        )


HBM_PORT = AxiPort(data_bits=8 * BEAT_BYTES, length_bits=4)
"""AXI3 port of a pseudo-channel: 16 beats of 256 bits in a burst."""
DDR_PORT = AxiPort(data_bits=512, length_bits=8)
"""AXI4 port of DDR."""
LINE_BEATS = LINE_BYTES // DDR_PORT.data_bytes
"""Beats of DDR that hold a line."""
