"""The reference page says what the table says."""

from pathlib import Path

import pytest

from hwroute.isa.docs import with_tables
from hwroute.isa.table import TABLE


def test_the_reference_page_agrees_with_the_table(root: Path) -> None:
    text = (root / "docs" / "isa.md").read_text(encoding="utf-8")
    assert text == with_tables(text), "run python -m hwroute.isa.docs docs/isa.md"
    with pytest.raises(ValueError, match="text must have the line '<!-- tables"):
        with_tables("# Another page")


def test_every_instruction_and_field_is_in_the_page(root: Path) -> None:
    text = (root / "docs" / "isa.md").read_text(encoding="utf-8")
    for opcode in TABLE:
        _, found, section = text.partition(f"\n### {opcode.name}\n")
        assert found, opcode.name
        section = section.partition("\n#")[0]
        assert f"Opcode {opcode.code:#04x}." in section
        rows = [line for line in section.splitlines() if line.startswith("| ")][2:]
        assert len(rows) == len(opcode.fields)
        for field, line in zip(opcode.fields, rows, strict=True):
            start = opcode.offsets[field.name]
            assert line.split("|")[1].strip().split(":")[-1] == str(start)
            assert f"| `{field.name}` |" in line
