"""Bring the tables of docs/isa.md up to date: ``python -m hwroute.isa.docs FILE``."""

import sys
from collections.abc import Iterator
from pathlib import Path

from hwroute.generated import row, with_generated
from hwroute.isa.fields import COMMON, REGISTER_MEANING, Field, Kind, Opcode, Unit
from hwroute.isa.table import TABLE

MARKER = "<!-- tables: hwroute.isa.docs -->"
"""The line after which the tables stand, to the end of the page."""
HEADER = (row("bits", "field", "values", "meaning"), row("---:", "---", "---", "---"))
VALUES = {
    Kind.REGISTER: "register",
    Kind.PLANE: "plane",
    Kind.UNITS: "set of units",
    Kind.SCRATCHPAD: "scratchpad line",
    Kind.DDR: "DDR line",
    Kind.HBM: "HBM beat",
    Kind.STATISTIC: "statistics word",
    Kind.FLOAT32: "FP32",
    Kind.TARGET: "instruction",
    Kind.FLAG: "flag",
}
"""What the kinds of fields are called that no range describes better."""


def with_tables(text: str) -> str:
    """Return the page with its tables made anew from the instruction table."""
    return with_generated(text, MARKER, "\n".join(_tables()) + "\n")


def _tables() -> Iterator[str]:
    yield from ("## Registers", "", row("number", "register", "meaning"), row("---:", "---", "---"))
    for register, meaning in REGISTER_MEANING.items():
        yield row(register.value, f"`{register.name.lower()}`", meaning)
    yield from ("", "## Every instruction", "")
    yield from (*HEADER, *_rows(COMMON, 0))
    for unit in Unit:
        title = "the sequencer" if unit is Unit.CONTROL else f"unit `{unit.name.lower()}`"
        yield from ("", f"## Instructions of {title}")
        for opcode in TABLE:
            if opcode.unit is unit:
                yield from _section(opcode)


def _section(opcode: Opcode) -> Iterator[str]:
    writes = f" Writes {opcode.writes}." if opcode.writes else ""
    yield from ("", f"### {opcode.name}", "")
    yield f"Opcode {opcode.code:#04x}. {_markdown(opcode.doc)}{writes}"
    if opcode.fields:
        yield from ("", *HEADER, *_rows(opcode.fields, opcode.offsets[opcode.fields[0].name]))


def _rows(fields: tuple[Field, ...], start: int) -> Iterator[str]:
    """Yield a row for each field; the first begins at bit `start`."""
    for field in fields:
        stop = start + field.bits - 1
        bits = f"{stop}" if field.bits == 1 else f"{stop}:{start}"
        yield row(bits, f"`{field.name}`", _values(field), _markdown(field.doc))
        start = stop + 1


def _values(field: Field) -> str:
    if field.kind is Kind.CHOICE:
        return ", ".join(f"{index} `{name}`" for index, name in enumerate(field.choices))
    if field.kind is Kind.UNSIGNED:
        return f"{field.least} to {field.largest}"
    least = f", from {field.least}" if field.least else ""
    return f"{VALUES[field.kind]}{least}"


def _markdown(text: str) -> str:
    """Return a docstring's text as Markdown."""
    return (
        text.replace("``", "`")
        .replace("|", "\\|")
        .replace(" * ", " \N{MULTIPLICATION SIGN} ")
        .replace("**", "^")
    )


if __name__ == "__main__":
    page = Path(sys.argv[1])
    page.write_text(with_tables(page.read_text(encoding="utf-8")), encoding="utf-8")
