"""The table of control registers, and the page that shows it."""

from dataclasses import replace
from pathlib import Path

import pytest

from hwroute.config import PRESETS
from hwroute.csr import ADDRESS_BITS, ARGUMENTS, ERROR_MEANING, PITCH, Error, Kind, csr_table
from hwroute.csr_docs import with_tables


@pytest.mark.parametrize("name", PRESETS)
def test_registers_have_names_and_places_of_their_own(name: str) -> None:
    table = csr_table(PRESETS[name])
    assert len({one.name for one in table}) == len(table)
    offsets = [one.offset for one in table]
    assert offsets == sorted(set(offsets))
    assert all(offset % PITCH == 0 for offset in offsets)
    assert offsets[0] == ARGUMENTS == 0x10
    assert offsets[-1] + PITCH <= 1 << ADDRESS_BITS
    assert all(one.doc and (one.kind is Kind.COUNTER) is bool(one.step_bits) for one in table)
    assert sum(one.name.endswith("bytes_read") for one in table) == PRESETS[name].kv.hbm_ports + 1


def test_only_the_ports_depend_on_the_configuration() -> None:
    small, large = (
        {one.name: one.offset for one in csr_table(PRESETS[name])} for name in ("demo", "u280")
    )
    assert small.items() <= large.items()


def test_too_many_counters_are_refused() -> None:
    demo = PRESETS["demo"]
    many = replace(demo, kv=replace(demo.kv, hbm_ports=256, max_tokens=256))
    with pytest.raises(ValueError, match="Registers must fit 4096 bytes, not 551 of them"):
        csr_table(many)


def test_every_error_has_a_meaning() -> None:
    assert [*ERROR_MEANING] == [*Error]


def test_the_page_agrees_with_the_table(root: Path) -> None:
    text = (root / "docs" / "registers.md").read_text(encoding="utf-8")
    assert text == with_tables(text), "run python -m hwroute.csr_docs docs/registers.md"
    for one in csr_table(PRESETS["demo"]):
        port = one.name.startswith("hbm")
        assert port or f"| {one.offset:#05x} | `{one.name}` |" in text
    assert "| 0x1d8 + 0x10 p | `hbm{p}_bytes_read` |" in text
