"""Logic: what the paper prints, and what ours is where it can be told without a synthesis."""

from collections.abc import Mapping

from hwroute.config import Config
from hwroute.sim.performance.reproduce.paper import KINDS, Resource, load_paper
from hwroute.sim.performance.reproduce.rows import Row, Section, paragraphs

NAME = "table2"
TOTAL = "total"
URAM_BYTES = 32 << 10
"""4K words of 72 bits, of which data use 64 (vendor's guide to memory resources, UG573)."""
NOT_MEASURED = "ours is not measured"
CALCULATED = "ours is calculated of the buffer's capacity, not synthesised"


def resource_rows(
    parts: list[Resource], ours: Mapping[tuple[str, str], float] | None = None
) -> list[Row]:
    """Return a row for each part and kind that the paper prints.

    Parameters
    ----------
    parts
        What the paper prints.
    ours
        By part and kind, where there is any.
    """
    known = ours or {}
    return [
        Row(
            what=part.part,
            unit=kind.upper(),
            ours=known.get((part.part, kind)),
            paper=getattr(part, kind),
            place=part.place,
            note=CALCULATED if (part.part, kind) in known else NOT_MEASURED,
        )
        for part in parts
        for kind in KINDS
        if getattr(part, kind) is not None
    ]


def table2(config: Config) -> Section:
    """Put the resources that the paper prints beside what is known of ours.

    Parameters
    ----------
    config
        The machine.
    """
    parts = load_paper().resources(NAME)
    kv = config.kv
    uram = 2 * kv.buffer_tokens * kv.entry_beats * kv.beat_bits // 8 / URAM_BYTES
    return Section(
        name=NAME,
        title="Table 2: resources",
        about=paragraphs(
            """
            No open tool places and routes a U280, and the whole machine has not been mapped by
            Yosys: where nothing is said, ours is not measured.
            """
        ),
        rows=tuple(resource_rows(parts, {("K/V buffer and crossbar", "uram"): uram})),
        findings=(_missing(parts),),
    )


def _missing(parts: list[Resource]) -> str:
    """Return what the paper's total has in none of its rows."""
    total = next(part for part in parts if part.part == TOTAL)
    left = {
        kind: (getattr(total, kind) or 0)
        - sum(getattr(part, kind) or 0 for part in parts if part.part != TOTAL)
        for kind in KINDS
    }
    shown = ", ".join(f"{count:,.0f} {kind.upper()}" for kind, count in left.items() if count)
    return f"Of the paper's total, {shown} are in no row of its table."
