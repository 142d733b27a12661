"""The study as plain values for JSON and as Markdown tables."""

import textwrap
from collections.abc import Callable, Iterable
from typing import Any

from hwroute.models.study.elementary import Sweep
from hwroute.models.study.measure import Cell, Final, Total, spread
from hwroute.models.study.paper import COLUMN_OF, printed
from hwroute.models.study.rows import ROWS as ROWS_OF_EACH
from hwroute.models.study.run import Study
from hwroute.models.study.variants import VARIANTS

VERSION = 1
"""Of the JSON file's layout."""

HEAD = """
Written by `{command}`; the same figures with their provenance are in `numerics.json`. What they
decide, and why they differ from the paper's where they do, is in [numerics](../numerics.md).

Every variant is given the same dot products 64 long: {samples:,} in each column of a table,
{each:,} from each of the seeds {first} to {last}, {total:,} in all. *uniform*: FP16 from -1 to 1;
*outliers*: normal FP16, one in a hundred 30 to 100 times larger; INT4 from -8 to 7, all alike.
*model*: operands of the golden model of `{model}` on {windows} windows of {window} tokens of
held-out text: rotated queries by the keys that they attend to (q.K), unnormalised probabilities by
values, blocks of 64 consecutive entries (P.V), and activations by INT4 weights, before the group's
scale (x.W).
"""
WHAT = {
    Final.NONE: (
        "The column's own error: what FP32 partial sums collect. The cascades hold FP16 sums."
    ),
    Final.NEAREST_EVEN: (
        "The machine's default conversion, the same for all. A cascade's result is an FP16 already."
    ),
    Final.TOWARD_ZERO: "The paper's conversion, as its printed figures suggest.",
}
MEANS = """
Mean over the seeds (smallest to largest seed). It is heavy-tailed: sums that nearly cancel decide
it. Exact sums of zero have no relative error and are left out.
"""
PAPER = "*paper*: what Table 1 prints for the nearest of its data."
ROWS = """
A block of 64 entries is not what the machine rounds: the aligned variant adds a row's products as
integers, whose unit the row's reference exponent fixes, and the overpacked one adds blocks of 64 in
FP32. Here whole rows are compared, {rows} random ones of each captured operation and seed,
{count:,} sums in all.
"""
FUNCTIONS = """
`exp2` stands for a probability, 2**(s - m) * 2**15. Relative error: of the FP32 result, where the
exact one is at least 2**-14, the smallest normal FP16. Error in ulp: of the result rounded to FP16,
nearest even; rounding alone has 0.5. Misrounded: FP16 results that are not the exact value rounded
to nearest even and flushed below 2**-14.
"""


def to_json(study: Study) -> dict[str, Any]:
    """Return every figure of the study as plain values."""
    return {
        "version": VERSION,
        "samples_per_cell": study.samples,
        "dot_products": study.dot_products,
        "seeds": list(study.seeds),
        "cells": [_cell(cell) for cell in study.cells],
        "whole_rows": _cell(study.rows),
        "functions": [
            {
                "function": sweep.function,
                "inputs": sweep.inputs,
                "count": sweep.count,
                "relative_error": sweep.relative,
                "error_fp16_ulp": sweep.ulp,
                "misrounded": sweep.misrounded,
            }
            for sweep in study.functions
        ],
    }


def _cell(cell: Cell) -> dict[str, Any]:
    rows = []
    for variant in VARIANTS:
        for final in Final:
            totals = cell.of(variant.key, final)
            if totals:
                rows.append(
                    {
                        "variant": variant.key,
                        "final": final.name.lower().replace("_", "-"),
                        "dot_products": sum(total.count for total in totals),
                        "exact_zeros": sum(total.zeros for total in totals),
                        "sum_error_percent": spread(t.sum_error_percent for t in totals),
                        "mean_relative_error_percent": spread(
                            t.mean_relative_error_percent for t in totals
                        ),
                        "paper_percent": printed(variant.key, cell.name),
                    }
                )
    return {"data": cell.name, "operands": cell.format, "results": rows}


def to_markdown(study: Study, *, command: str, model: str, windows: int, window: int) -> str:
    """Return the tables, one after another.

    Parameters
    ----------
    study
        What was measured.
    command
        The command line to write it again.
    model, windows, window
        Name of the model, and how much text it ran.
    """
    head = HEAD.format(
        command=command,
        samples=study.samples,
        each=study.samples // len(study.seeds),
        first=study.seeds[0],
        last=study.seeds[-1],
        total=study.dot_products,
        model=model,
        windows=windows,
        window=window,
    )
    parts = ["# Numerics: measured", _filled(head)]
    for final in Final:
        parts.append(f"## Sum of errors over sum of exact magnitudes, per cent: {final.value}")
        parts += [WHAT[final], _by_variant(study.cells, final, _sum_error)]
    for final in (Final.TOWARD_ZERO, Final.NEAREST_EVEN, Final.NONE):
        paper = final is Final.TOWARD_ZERO
        parts.append(f"## The paper's metric, mean relative error, per cent: {final.value}")
        parts.append(_filled(MEANS + (PAPER if paper else "")))
        parts.append(_by_variant(study.cells, final, _mean_error, paper=paper))
    parts += ["## Probabilities by values, whole rows", _rows(study.rows)]
    parts += ["## Elementary functions", _filled(FUNCTIONS), _functions(study.functions)]
    return "\n\n".join(parts) + "\n"


def _filled(text: str) -> str:
    """Break the paragraphs of a text into lines of at most 100 columns."""
    paragraphs = text.strip().split("\n\n")
    return "\n\n".join(
        textwrap.fill(part, width=100, break_on_hyphens=False) for part in paragraphs
    )


def _rows(cell: Cell) -> str:
    variants = [variant for variant in VARIANTS if cell.of(variant.key, Final.NONE)]
    count = sum(total.count for total in cell.of(variants[0].key, Final.NONE))
    head = ["variant", *(f"sum, {final.value}" for final in Final)]
    head += [f"mean relative, {final.value}" for final in Final]
    rows = [
        [
            variant.label,
            *(_sum_error(cell.of(variant.key, final)) for final in Final),
            *(_mean_error(cell.of(variant.key, final)) for final in Final),
        ]
        for variant in variants
    ]
    return f"{_filled(ROWS.format(rows=ROWS_OF_EACH, count=count))}\n\n{_table(head, rows)}"


def _sum_error(totals: list[Total]) -> str:
    return f"{spread(total.sum_error_percent for total in totals)['mean']:.4f}"


def _mean_error(totals: list[Total]) -> str:
    found = spread(total.mean_relative_error_percent for total in totals)
    return f"{found['mean']:.3f} ({found['min']:.3f} to {found['max']:.3f})"


def _by_variant(
    cells: Iterable[Cell],
    final: Final,
    figure: Callable[[list[Total]], str],
    *,
    paper: bool = False,
) -> str:
    """Return a table of variants by cells; with the paper's figure beside each where wanted."""
    cells = list(cells)
    head = ["variant"]
    for cell in cells:
        head += [cell.name, "paper"] if paper and _in_paper(cell) else [cell.name]
    rows = []
    for variant in VARIANTS:
        row = [variant.label]
        for cell in cells:
            totals = cell.of(variant.key, final)
            row.append(figure(totals) if totals else "")
            if paper and _in_paper(cell):
                value = printed(variant.key, cell.name)
                row.append("" if value is None else f"{value:.3f}")
        rows.append(row)
    return _table(head, rows)


def _in_paper(cell: Cell) -> bool:
    return cell.name in COLUMN_OF


def _functions(sweeps: Iterable[Sweep]) -> str:
    head = ["function", "inputs", "count", "relative error", "error, FP16 ulp", "misrounded"]
    rows = [
        [
            sweep.function,
            sweep.inputs,
            f"{sweep.count:,}",
            f"{sweep.relative:.2e}",
            "" if sweep.ulp is None else f"{sweep.ulp:.4f}",
            "" if sweep.misrounded is None else str(sweep.misrounded),
        ]
        for sweep in sweeps
    ]
    return _table(head, rows)


def _table(head: list[str], rows: list[list[str]]) -> str:
    rule = ["---"] + ["---:"] * (len(head) - 1)
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, rule, *rows])
