"""Skip rates, and the skip map as text and as a picture."""

from pathlib import Path

import numpy as np
import pytest

from hwroute.errors import InputError
from hwroute.skip_map import printable, skip_map, skip_rates
from hwroute.skip_picture import save_skip_picture

EXECUTED = np.array([[[1, 1, 1, 1], [1, 0, 0, 1]], [[0, 1, 1, 1], [1, 1, 1, 1]]], bool)


def test_rates_count_layers_and_tokens() -> None:
    assert skip_rates(EXECUTED) == {"attention": 1 / 8, "ffn": 2 / 8}


def test_map_has_a_row_a_sublayer_and_a_column_a_token() -> None:
    assert skip_map(EXECUTED, list("abcd")).splitlines() == [
        "             abcd",
        "0 attention  ████  100 %",
        "0 ffn        █··█   50 %",
        "1 attention  ·███   75 %",
        "1 ffn        ████  100 %",
        "",
        "█ executed  · skipped, in per cent: executed",
    ]


def test_map_continues_below_where_the_terminal_ends() -> None:
    lines = skip_map(EXECUTED, list("abcd"), width=23).splitlines()
    assert [line.strip() for line in lines if line.startswith("     ")] == ["abc", "d"]


def test_characters_without_a_column_of_their_own_have_stand_ins() -> None:
    assert printable("a\n \t\x07") == ["a", "↵", "␣", "→", "?"]


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_the_picture_of_a_run_is_the_same_file_every_time(tmp_path: Path, suffix: str) -> None:
    paths = [tmp_path / f"{name}{suffix}" for name in "ab"]
    for path in paths:
        save_skip_picture(EXECUTED, list("abcd"), 2, path)
    first, second = (path.read_bytes() for path in paths)
    assert first == second
    assert len(first) > 1000


def test_a_picture_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"picture must be a .png or .svg file, not '.*x.gif'"):
        save_skip_picture(EXECUTED, list("abcd"), 2, tmp_path / "x.gif")


def test_an_unwritable_picture_is_reported(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must be writable"):
        save_skip_picture(EXECUTED, list("abcd"), 2, tmp_path / "missing" / "x.png")
