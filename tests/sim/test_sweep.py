"""Points of a sweep, the folder that keeps them, and the processes that run them."""

import os
import sys
import time
from pathlib import Path

import cloudpickle
import pytest

from hwroute.errors import InputError
from hwroute.memory_config import KVMapping
from hwroute.policy_terms import KVRule
from hwroute.sim.performance.sweep_points import Point, read_points, varying
from hwroute.sim.performance.sweep_pool import Died, run_local
from hwroute.sim.performance.sweep_store import Store, flatten, read_finished

# Processes of a pool do not see the tests' modules.
cloudpickle.register_pickle_by_value(sys.modules[__name__])


def read(path: Path, text: str) -> list[Point]:
    file = path / "sweep.toml"
    file.write_text(text, encoding="utf-8")
    return read_points(file)


def test_a_grid_is_every_combination_and_a_list_comes_behind(tmp_path) -> None:
    points = read(
        tmp_path,
        """
        format = 1
        [common]
        model = "tiny"
        decode = 6
        [grid]
        skip = [0, 0.5]
        kv = ["reuse", "dense"]
        [[points]]
        decode = 7
        kv_mapping = "interleaved"
        [[points]]
        fused = false
        """,
    )
    assert points == [
        Point(model="tiny", decode=6, skip=0.0, kv=KVRule.REUSE),
        Point(model="tiny", decode=6, skip=0.0, kv=KVRule.DENSE),
        Point(model="tiny", decode=6, skip=0.5, kv=KVRule.REUSE),
        Point(model="tiny", decode=6, skip=0.5, kv=KVRule.DENSE),
        Point(model="tiny", decode=7, kv_mapping=KVMapping.INTERLEAVED),
        Point(model="tiny", decode=6, fused=False),
    ]
    assert varying(points) == ["decode", "skip", "kv", "kv_mapping", "fused"]
    assert points[4].label(varying(points)) == (
        "decode=7 skip=0.25 kv_mapping=interleaved fused=True"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("format = 1\n[grids]\nskip = [0]", "grids must be a known key; did you mean 'grid'?"),
        ("format = 1\n[grid]\nskipp = [0]", "skipp must be a known key; did you mean 'skip'?"),
        ("format = 1\n[common]\nmodle = 'tiny'", "common.modle must be .* 'model'?"),
        ("format = 1\n[[points]]\nkv = 'reus'", r"points\[0\].kv must be one of .* 'reuse'?"),
        ("format = 1\n[grid]\ndecode = [5, '6']", "grid.decode must be of type int, not '6'"),
        ("format = 1\n[grid]\ndecode = 5", "grid.decode must be an array of at least one value"),
        ("format = 1\n[grid]\ndecode = []", "grid.decode must be an array of at least one value"),
        ("format = 1\npoints = 3", "points must be an array of tables, not 3"),
        ("format = 1\ngrid = 3", "grid must be a table, not 3"),
        ("format = 1\n[common]\nskip = 0", "there must be a table grid, or a table points"),
        ("format = 1\n[grid]\nskip = [0, 0.0]", "points must differ, but 1 and 2 are alike"),
        ("format = 2\n[grid]\nskip = [0]", "format must be 1, not 2"),
        ("[grid]\nskip = [0]", "format must be 1, not None"),
        ("format = ", "sweep.toml: "),
    ],
)
def test_a_wrong_file_gets_a_line(tmp_path, text, message) -> None:
    with pytest.raises(InputError, match=message):
        read(tmp_path, text)


def test_a_file_that_is_missing_gets_a_line(tmp_path) -> None:
    with pytest.raises(InputError, match=r"none.toml.*No such file"):
        read_points(tmp_path / "none.toml")


def test_what_is_finished_is_kept_and_a_torn_line_is_not(tmp_path) -> None:
    rows = [{"id": str(number), "point": {}, "figures": {"a": {"b": number}}} for number in (1, 2)]
    with Store(tmp_path) as store:
        for row in rows:
            store.add(row)
    file = tmp_path / "points.jsonl"
    whole = file.read_bytes()
    file.write_bytes(whole[:-3])
    assert list(read_finished(tmp_path)) == ["1"]
    with Store(tmp_path) as store:
        store.add(rows[1])
    assert file.read_bytes() == whole
    assert read_finished(tmp_path) == {"1": rows[0], "2": rows[1]}


def test_a_line_of_something_else_is_refused(tmp_path) -> None:
    (tmp_path / "points.jsonl").write_text('{"id": "1"}\n[]\n', encoding="utf-8")
    with pytest.raises(InputError, match=r"points.jsonl:2: must be a finished point"):
        read_finished(tmp_path)


def test_one_sweep_at_a_time_writes_to_a_folder(tmp_path) -> None:
    with (
        Store(tmp_path),
        pytest.raises(InputError, match="no other sweep may be running there"),
        Store(tmp_path),
    ):
        pass
    with Store(tmp_path):
        pass


def test_figures_are_flat_by_their_path() -> None:
    assert flatten({"kv": {"hits": {"share": 1}}, "skip": 2}) == {"kv.hits.share": 1, "skip": 2}


def work(number: int) -> int:
    """Square a number; at 3 the process dies."""
    if number == 3:
        # Not before others are under way.
        time.sleep(0.3)
        os._exit(1)
    return number * number


def test_a_process_that_dies_takes_no_other_item_with_it() -> None:
    results = dict(run_local(work, range(7), workers=2))
    assert isinstance(results.pop(3), Died)
    assert results == {number: number * number for number in (0, 1, 2, 4, 5, 6)}
