"""Sizes of the overlay's memories; part of `hwroute.config.Config`."""

from dataclasses import dataclass
from enum import Enum

from hwroute.isa.fields import ADDRESS_BITS, BEAT_BYTES, LINE_BYTES, PLANES, Kind


class KVMapping(Enum):
    """How a token's K (or V) vector lies in HBM."""

    TOKEN = "token"
    """Whole, in one port: executing tokens are dealt to the ports in turn."""
    INTERLEAVED = "interleaved"
    """Beat by beat over all ports, the conventional way."""


@dataclass(frozen=True, kw_only=True)
class MemoryConfig:
    """Memories of one overlay.

    Parameters
    ----------
    scratchpad_bytes
        Global scratchpad. 4 MiB are 128 URAM288 of 32 KiB: a tile of 64 tokens of Llama-2-13B.
    scratchpad_banks
        A power of two. Consecutive lines lie in different banks, each of which reads a line and
        writes a line a cycle. 8 banks of 4 MiB are one URAM288 deep.
    statistics
        FP32 words for sums of squares, logits, maxima and sums of a tile.
    planes
        Bitmask planes, plane 0 (every token) included.
    hbm_port_bytes
        Of one HBM pseudo-channel; `KVConfig.hbm_ports` of them hold weights, K and V.
    ddr_bytes
        DDR: embedding, scales, gains, tables, routers, token ids.
    kv_mapping
        How K and V lie in HBM.

    Raises
    ------
    ValueError
        A size out of range; the message names it.
    """

    scratchpad_bytes: int = 4 << 20
    scratchpad_banks: int = 8
    statistics: int = 2048
    planes: int = 8
    hbm_port_bytes: int = 256 << 20
    ddr_bytes: int = 32 << 30
    kv_mapping: KVMapping = KVMapping.TOKEN

    def __post_init__(self) -> None:
        banks = self.scratchpad_banks
        if not 1 <= banks <= 64 or banks & (banks - 1):
            raise ValueError(
                f"memory.scratchpad_banks must be a power of two up to 64, not {banks!r}"
            )
        for name, multiple, largest in (
            ("scratchpad_bytes", LINE_BYTES, LINE_BYTES << ADDRESS_BITS[Kind.SCRATCHPAD]),
            ("statistics", 1, 1 << ADDRESS_BITS[Kind.STATISTIC]),
            ("planes", 1, PLANES),
            ("hbm_port_bytes", 512, BEAT_BYTES << ADDRESS_BITS[Kind.HBM]),
            ("ddr_bytes", LINE_BYTES, LINE_BYTES << ADDRESS_BITS[Kind.DDR]),
        ):
            value = getattr(self, name)
            if not multiple <= value <= largest or value % multiple:
                raise ValueError(
                    f"memory.{name} must be a multiple of {multiple} up to {largest}, not {value!r}"
                )
