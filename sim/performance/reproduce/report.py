"""The comparison as text, as a page and as JSON."""

import textwrap
from collections.abc import Iterable
from typing import Any

from hwroute.sim.performance.reproduce.free import STEP
from hwroute.sim.performance.reproduce.rows import TOLERANCE, Row, Section, paragraphs
from hwroute.sim.performance.reproduce.sensitivity import FIGURES, Change, Sensitivity
from hwroute.sim.performance.tables import Table

DASH = "-"
_HEAD = """
`{command}` wrote this page; `hwroute reproduce` prints it. The paper is SkipOPU,
arXiv 2603.14785v1; what it prints, and where, is in `sim/performance/reproduce/paper.toml`.

Ours are predictions of the performance model: no board was measured. Nothing is fitted to a figure
of the paper: every free parameter is at the end, with its source, and with how far results move
with it. Beside a difference of more than {tolerance:.0%} stands what we think it comes from.
"""


def number(value: float | None) -> str:
    """Return a value with four digits, thousands whole."""
    if value is None:
        return DASH
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def difference(row: Row) -> str:
    """Return the difference of a row in per cent."""
    return "" if row.difference is None else f"{row.difference:+.1%}"


def text(sections: Iterable[Section], sensitivity: Sensitivity | None = None) -> str:
    """Return what the command prints."""
    parts = []
    for section in sections:
        table = Table(
            name=section.name,
            title=section.title,
            columns=("quantity", "unit", "paper", "ours", "difference"),
            formats=("",) * 4,
            rows=[
                (row.what, row.unit, number(row.paper), number(row.ours), difference(row))
                for row in section.rows
            ],
        )
        remarks = [f"{row.what}: {row.remark}" for row in section.rows if row.differs]
        parts += [table.text(), *section.about, *section.findings, *remarks, ""]
    if sensitivity is not None:
        parts += [_sensitivity_table(sensitivity).text(), *sensitivity.about]
    return "\n".join(parts).rstrip()


def _sensitivity_table(sensitivity: Sensitivity) -> Table:
    """Return what fits a terminal; the page has every digit, sources and values tried."""
    return Table(
        name="sensitivity",
        title=f"What a tenth less / more of a free parameter does, % ({_base(sensitivity)})",
        columns=("parameter", "value", *FIGURES),
        formats=("",) * (1 + len(FIGURES)),
        rows=[
            (one.name.removeprefix("device."), _value(one.value), *_moves(one.changes, digits=1))
            for one in sensitivity.shifts
        ],
    )


def _base(sensitivity: Sensitivity) -> str:
    return ", ".join(f"{key} {number(value)}" for key, value in sensitivity.base.items())


def _value(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _tried(changes: Iterable[Change]) -> str:
    return " / ".join(_value(one.value) for one in changes)


def _moves(changes: Iterable[Change], *, digits: int = 2) -> list[str]:
    """Return for each figure how far it moves, one value of the parameter after the other."""
    return [
        " / ".join(
            f"{100 * one.moves[key]:+.{digits}f}" if one.moves else "refused" for one in changes
        )
        for key in FIGURES
    ]


def page(sections: Iterable[Section], sensitivity: Sensitivity, command: str) -> str:
    """Return the page of docs/results."""
    lines = ["# The paper's figures beside ours", ""]
    for paragraph in paragraphs(_HEAD.format(command=command, tolerance=TOLERANCE)):
        lines += [*textwrap.wrap(paragraph, 100), ""]
    for section in sections:
        lines += [f"## {section.title}", ""]
        for paragraph in section.about:
            lines += [paragraph, ""]
        lines += _markdown(
            ("quantity", "unit", "paper", "ours", "difference", "place", "remark"),
            "llrrrll",
            [
                (
                    row.what,
                    row.unit,
                    number(row.paper),
                    number(row.ours),
                    difference(row),
                    row.place,
                    row.remark,
                )
                for row in section.rows
            ],
        )
        if section.findings:
            lines += ["", *(f"- {finding}" for finding in section.findings)]
        lines.append("")
    lines += ["## Free parameters", ""]
    for paragraph in sensitivity.about:
        lines += [paragraph, ""]
    lines += [f"As they are: {_base(sensitivity)}. Moves are in per cent.", ""]
    lines += _markdown(
        ("parameter", "value", "source", "tried", *FIGURES),
        "llll" + "r" * len(FIGURES),
        [
            (
                f"`{one.name}`",
                _value(one.value),
                one.source,
                _tried(one.changes),
                *_moves(one.changes),
            )
            for one in sensitivity.shifts
        ],
    )
    return "\n".join(lines) + "\n"


def _markdown(heads: Iterable[str], alignment: str, rows: Iterable[Iterable[str]]) -> list[str]:
    """Return the lines of a table; `alignment` has an l or r for each column."""
    rules = {"l": "---", "r": "---:"}
    return [
        _line(heads),
        _line(rules[one] for one in alignment),
        *(_line(row) for row in rows),
    ]


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def fields(sections: Iterable[Section], sensitivity: Sensitivity | None = None) -> dict[str, Any]:
    """Return it as JSON has it: every row with its section, and sections and parameters."""
    sections = list(sections)
    result: dict[str, Any] = {
        "rows": [{"section": one.name, **row.fields()} for one in sections for row in one.rows],
        "sections": [
            {"name": one.name, "title": one.title}
            | {"about": list(one.about), "findings": list(one.findings)}
            for one in sections
        ],
    }
    if sensitivity is not None:
        result["sensitivity"] = {
            "step": STEP,
            "base": sensitivity.base,
            "about": list(sensitivity.about),
            "parameters": [one.fields() for one in sensitivity.shifts],
        }
    return result
