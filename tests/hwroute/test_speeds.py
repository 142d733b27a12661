"""Figures of a bench: their median and spread, and the page with them."""

import json
from pathlib import Path

from hwroute.speeds import seconds, speed_of, write_speeds


def test_a_figure_is_the_median_with_its_spread() -> None:
    speed = speed_of("walking", "km/h", 5, [6.0, 4.0, 5.5])
    assert (speed.median, speed.smallest, speed.largest) == (5.5, 4.0, 6.0)
    assert "5.50 km/h" in str(speed)
    assert "(4.00 to 6.00, asked 5)" in str(speed)


def test_the_page_has_a_row_for_each_and_names_its_command(tmp_path: Path) -> None:
    found = [speed_of("walking", "km/h", 5, [6.0]), speed_of("a mile", "s", 900, [1234.5])]
    write_speeds(found, tmp_path / "new", name="gait", title="Gait", command="walk", runs=1)
    page = (tmp_path / "new" / "gait.md").read_text(encoding="utf-8")
    assert page.startswith("# Gait\n\nWritten by `walk`.\n")
    assert "| a mile | s | 1,234.50 | 1,234.50 | 1,234.50 | 900 |" in page
    record = json.loads((tmp_path / "new" / "gait.json").read_text(encoding="utf-8"))
    assert [one["median"] for one in record["speeds"]] == [6.0, 1234.5]
    assert record["provenance"]


def test_seconds_runs_the_work_once() -> None:
    done: list[int] = []
    assert seconds(lambda: done.append(1)) >= 0
    assert done == [1]
