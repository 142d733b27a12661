"""Probabilities by values over whole rows: where the two variants accumulate differently.

The aligned variant adds a row's products as integers and rounds once; the overpacked one adds
blocks of 64 entries in FP32. Of a single block of 64 the study shows the alignment to the row's
reference exponent, which costs blocks of small probabilities most and the row's sum least.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwroute.column_format import LANES, PROBABILITY_REFERENCE, VALUES_POINT
from hwroute.config import Numerics, Variant
from hwroute.models.ops.columns import columns_of
from hwroute.models.study.capture import Capture
from hwroute.models.study.measure import Cell, Final, Total
from hwroute.models.study.sources import Mix
from hwroute.models.study.variants import WIDE_MAGNITUDE_BITS, Floats
from hwroute.numerics import (
    FP16_MAGNITUDE_BITS,
    Bits16,
    Ints,
    align_block,
    align_to,
    fp16_to_float64,
)

ROWS = 32
"""Of each captured operation."""
NAME = "model, P.V, whole rows"


def whole_rows(captured: Capture, seeds: tuple[int, ...]) -> Cell:
    """Return the errors on `ROWS` rows of every captured operation.

    Of both machine variants, and of the aligned one with p at 24 bits. Each seed chooses rows of
    its own; all are given the same ones.
    """
    cell = Cell(name=NAME, format="FP16xFP16")
    for seed in seeds:
        rng = np.random.default_rng(seed)
        for source in captured.sources["values"]:
            assert isinstance(source, Mix)
            _add(cell, seed, source, rng.permutation(len(source.last))[:ROWS])
    return cell


def _add(
    cell: Cell, seed: int, source: Mix, rows: np.ndarray[tuple[int], np.dtype[np.int64]]
) -> None:
    heads, kv_heads = len(source.p), len(source.v)
    # Query heads that share a KV head stand beside each other as more rows of it.
    p = source.p[:, rows].reshape(kv_heads, -1, source.p.shape[2])
    reference = np.tile(source.references[:, rows], (1, heads // kv_heads, 1))
    exact = fp16_to_float64(p) @ fp16_to_float64(source.v)
    results: dict[str, NDArray[Any]] = {
        "exact": exact,
        "tree-15": columns_of(Numerics(variant=Variant.OVERPACKED)).values(p, source.v, reference),
        "aligned": columns_of(Numerics(variant=Variant.ALIGNED)).values(p, source.v, reference),
        "aligned-24-qp": _wide(p, source.v, reference),
    }
    for key, result in results.items():
        wide = result[..., : source.dims].astype(np.float64).ravel()
        for final in Final:
            total = cell.totals.setdefault((key, final, seed), Total())
            total.add(final.apply(wide), exact[..., : source.dims].ravel())


def _wide(p: Bits16, v: Bits16, reference: Ints) -> Floats:
    """Return what `AlignedColumns.values` does, with p aligned to 24 bits, before its rounding."""
    columns = columns_of(Numerics(variant=Variant.ALIGNED))
    target = PROBABILITY_REFERENCE + columns.fold(p, v, reference)
    a = align_to(p[:, None], target, WIDE_MAGNITUDE_BITS).astype(np.float64)
    b, _ = align_block(v.reshape(*v.shape[:2], -1, LANES), FP16_MAGNITUDE_BITS)
    # Exact in float64: up to 2**13 tokens, a row's sum is below 2**53.
    sums = a @ b.swapaxes(1, 2).astype(np.float64)
    point = VALUES_POINT + WIDE_MAGNITUDE_BITS - FP16_MAGNITUDE_BITS
    result = np.ldexp(sums, reference.swapaxes(1, 2)[..., None] - point).swapaxes(1, 2)
    return result.reshape(*p.shape[:2], -1)
