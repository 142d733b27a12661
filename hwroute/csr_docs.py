"""Bring the tables of docs/registers.md up to date: ``python -m hwroute.csr_docs FILE``."""

import sys
from collections.abc import Iterator
from pathlib import Path

from hwroute.config import PRESETS
from hwroute.csr import ERROR_MEANING, PITCH, csr_table
from hwroute.generated import row, with_generated

MARKER = "<!-- tables: hwroute.csr_docs -->"
"""The line after which the tables stand, to the end of the page."""


def with_tables(text: str) -> str:
    """Return the page with its tables made anew from the register table."""
    return with_generated(text, MARKER, "\n".join(_tables()) + "\n")


def _tables() -> Iterator[str]:
    yield from ("## Registers", "", row("offset", "name", "kind", "bits", "meaning"))
    yield row("---", "---", "---", "---:", "---")
    for one in csr_table(PRESETS["demo"]):
        offset, name, doc = f"{one.offset:#05x}", one.name, one.doc.replace("``", "`")
        if name.startswith("hbm0_"):
            offset += f" + {2 * PITCH:#x} p"
            name, doc = name.replace("0", "{p}"), doc.replace("HBM 0", "HBM port p")
        elif name.startswith("hbm"):
            continue
        yield row(offset, f"`{name}`", one.kind.value, one.bits, doc)
    yield from ("", "## Errors", "", row("code", "name", "meaning"), row("---:", "---", "---"))
    for error, meaning in ERROR_MEANING.items():
        yield row(error.value, error.name, meaning.replace("``", "`"))


if __name__ == "__main__":
    page = Path(sys.argv[1])
    page.write_text(with_tables(page.read_text(encoding="utf-8")), encoding="utf-8")
