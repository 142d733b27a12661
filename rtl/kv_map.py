"""How the KV memory lays entries out in HBM: what kv.map says."""

from hwroute.config import KVConfig
from hwroute.errors import InputError
from hwroute.isa.fields import LINE_BYTES
from hwroute.isa.table import BY_NAME
from hwroute.rtl.axi import HBM_PORT

_MAP = BY_NAME["kv.map"].by_name
BASE_BITS = _MAP["base"].bits
VECTOR_BEAT_BITS = _MAP["vector"].bits
EXPONENT_BEAT_BITS = _MAP["exponents"].bits
LINE_HBM_BEATS = LINE_BYTES // HBM_PORT.data_bytes
"""Beats of HBM that hold a line."""


def pairing(config: KVConfig) -> int:
    """Return how many beats of HBM are one on the core's side, 1 or 2.

    Raises
    ------
    InputError
        The width of a beat is another.
    """
    count, rest = divmod(config.beat_bits, HBM_PORT.data_bits)
    if rest or count not in (1, 2):
        raise InputError(
            f"kv.beat_bits must be {HBM_PORT.data_bits} or {2 * HBM_PORT.data_bits} for HBM "
            f"ports, not {config.beat_bits!r}"
        )
    return count
