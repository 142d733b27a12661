"""The latencies in docs/machine.md are those of the modules of latencies, all of them."""

from pathlib import Path

from hwroute import memory_timing, timing
from hwroute.timing_docs import with_latencies


def test_the_page_is_up_to_date(root: Path) -> None:
    text = (root / "docs" / "machine.md").read_text(encoding="utf-8")
    assert text == with_latencies(text), "run python -m hwroute.timing_docs docs/machine.md"


def test_every_latency_is_in_the_page(root: Path) -> None:
    text = (root / "docs" / "machine.md").read_text(encoding="utf-8")
    for name, value in (vars(timing) | vars(memory_timing)).items():
        if name.startswith("_"):
            continue
        assert f"`{name}(" in text if callable(value) else f"| `{name}` | {value} |" in text
