"""How one KV entry lies in HBM: the one place that sizes it."""

from dataclasses import dataclass

from hwroute.config import KVFormat
from hwroute.isa.fields import BEAT_BYTES, LINE_BYTES, lines_of
from hwroute.shape import ModelShape

ELEMENT_BYTES = {KVFormat.FP16: 2}
"""Bytes of an element of K or V."""


@dataclass(frozen=True, kw_only=True)
class KVLayout:
    """Beats of a slot: a K vector, the exponents of the V vector, the V vector.

    The exponents come before V since attention needs the largest of them, over all entries,
    before it multiplies the first value (docs/numerics.md, probabilities times values).

    Parameters
    ----------
    head_lines
        Length of a head, padded to lines of 64 elements.
    vector_lines
        Length of a K or V vector.
    vector_beats
        Beats of a K or V vector.
    exponent_beats
        Beats of the exponents: one byte for each line of V.
    """

    head_lines: int
    vector_lines: int
    vector_beats: int
    exponent_beats: int

    @property
    def slot_beats(self) -> int:
        """Beats of a slot."""
        return 2 * self.vector_beats + self.exponent_beats

    @property
    def slot_bytes(self) -> int:
        """Bytes of a slot."""
        return self.slot_beats * BEAT_BYTES


def kv_layout(shape: ModelShape, kv_format: KVFormat) -> KVLayout:
    """Return the layout of a token's K and V at one layer."""
    head_lines = lines_of(shape.head_dim)
    vector_lines = shape.kv_heads * head_lines
    vector_bytes = vector_lines * LINE_BYTES * ELEMENT_BYTES[kv_format] // 2
    return KVLayout(
        head_lines=head_lines,
        vector_lines=vector_lines,
        vector_beats=vector_bytes // BEAT_BYTES,
        exponent_beats=-(-vector_lines // BEAT_BYTES),
    )
