"""The PE array's operations, bit for bit: block dot products of either variant, accumulated.

A column reduces 64 lanes; blocks of 64 along a reduction accumulate in FP32 in order, from +0. The
one exception: the aligned variant adds probabilities times values as integers, in any order, and
rounds once per row.
"""

from hwroute.config import Numerics, Variant
from hwroute.models.ops.column_aligned import AlignedColumns
from hwroute.models.ops.column_base import Columns, PreparedWeights
from hwroute.models.ops.column_overpacked import OverpackedColumns

__all__ = ["AlignedColumns", "Columns", "OverpackedColumns", "PreparedWeights", "columns_of"]


def columns_of(numerics: Numerics) -> Columns:
    """Return the columns that `numerics` names."""
    kinds: dict[Variant, type[Columns]] = {
        kind.variant: kind for kind in (AlignedColumns, OverpackedColumns)
    }
    return kinds[numerics.variant](numerics)
