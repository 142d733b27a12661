"""SkipOPU's Table 1 (arXiv 2603.14785v1): error of a 64-long dot product, in per cent."""

from hwroute.models.study.run import SCORES, UNIFORM_FP16, UNIFORM_INT4, VALUES, WEIGHTS

TABLE1 = {
    "tree-22": (0.035, 0.035, 0.065, 0.036),
    "tree-15": (0.064, 0.074, 0.116, 0.067),
    "cascaded-macs": (0.410, 0.369, 0.490, 0.415),
    "cascaded-overpacked": (0.390, 0.370, 0.344, 0.348),
}
"""Variant -> random FP16xFP16, random FP16xINT4, empirical FP16xFP16, empirical FP16xINT4."""
COLUMN_OF = {UNIFORM_FP16: 0, UNIFORM_INT4: 1, SCORES: 2, VALUES: 2, WEIGHTS: 3}
"""Cell -> the column that it is compared with. The paper's distributions are not published."""


def printed(variant: str, cell: str) -> float | None:
    """Return what the paper prints for a variant and a cell, None where it prints nothing."""
    if variant not in TABLE1 or cell not in COLUMN_OF:
        return None
    return TABLE1[variant][COLUMN_OF[cell]]
