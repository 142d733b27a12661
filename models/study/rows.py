"""Probabilities by values over whole rows: where the two variants accumulate differently.

The aligned variant adds a row's products as integers and rounds once; the overpacked one adds
blocks of 64 entries in FP32. Of a single block of 64 the study shows the alignment to the row's
reference exponent, which costs blocks of small probabilities most and the row's sum least.
"""

import numpy as np

from hwroute.config import Numerics, Variant
from hwroute.models.ops.columns import columns_of
from hwroute.models.study.capture import Capture
from hwroute.models.study.measure import Cell, Final, Total
from hwroute.models.study.sources import Mix
from hwroute.numerics import fp16_to_float64

ROWS = 32
"""Of each captured operation."""
NAME = "model, P.V, whole rows"
KEYS = {Variant.OVERPACKED: "tree-15", Variant.ALIGNED: "aligned"}


def whole_rows(captured: Capture, seeds: tuple[int, ...]) -> Cell:
    """Return the errors of both machine variants on `ROWS` rows of every captured operation.

    Each seed chooses rows of its own; both variants are given the same ones.
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
    for variant, key in KEYS.items():
        result = columns_of(Numerics(variant=variant)).values(p, source.v, reference)
        for final in Final:
            total = cell.totals.setdefault((key, final, seed), Total())
            present = np.s_[..., : source.dims]
            total.add(
                final.apply(result[present].astype(np.float64)).ravel(), exact[present].ravel()
            )
