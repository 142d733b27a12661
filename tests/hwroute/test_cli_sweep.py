"""``hwroute sweep``: every point once, whatever happens, here and on a cluster."""

import csv
import json
import signal
import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from distributed import LocalCluster

from hwroute.cli import main
from hwroute.cli.perf import perf
from hwroute.sim.performance.sweep_points import Point, read_points

COMMON = """
format = 1
[common]
model = "tiny"
config = "demo"
prefill = 8
decode = 4
"""
EXAMPLES = ("sweep.toml", "sweep-llama2-7b.toml")
GRID = """
[grid]
skip = [0.0, 0.4]
kv_buffer = [true, false]
"""


def run(*words: object) -> Any:
    return CliRunner().invoke(main, [str(word) for word in words])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "sweep.toml"
    path.write_text(COMMON + GRID, encoding="utf-8")
    return path


def rows_of(folder: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((folder / "results.json").read_text())["rows"]
    return rows


def test_the_options_of_a_point_are_those_of_perf() -> None:
    names = {one.name.removeprefix("no_") for one in perf.params if one.name}
    assert {one.name for one in fields(Point)} == names - {"output", "as_json"}
    defaults = {one.name: one.default for one in perf.params if not one.name.startswith("no_")}
    for one in fields(Point):
        if one.name in defaults:
            assert one.default == (defaults[one.name] if one.default is not None else None)


def test_every_point_is_a_row_with_what_perf_says(file: Path, tmp_path: Path) -> None:
    result = run("sweep", file, "-o", tmp_path / "out", "--workers", 2)
    assert result.exit_code == 0, result.output
    assert "4 points, 0 of them finished before" in result.stdout
    assert "fastest in decode: skip=0.4 kv_buffer=True" in result.stdout
    rows = rows_of(tmp_path / "out")
    assert [(row["point"]["skip"], row["point"]["kv_buffer"]) for row in rows] == [
        (0.0, True),
        (0.0, False),
        (0.4, True),
        (0.4, False),
    ]
    small = "perf -m tiny -c demo --prefill 8 --decode 4 --skip 0.4 --no-kv-buffer --json"
    alone = json.loads(run(*small.split()).stdout)
    alone.pop("provenance")
    assert rows[3]["figures"] == alone
    with (tmp_path / "out" / "results.csv").open(newline="") as lines:
        table = list(csv.DictReader(lines))
    assert [float(row["tokens_per_second"]) for row in table] == [
        row["figures"]["tokens_per_second"] for row in rows
    ]
    assert table[3]["kv_buffer"] == "False"
    assert float(table[2]["kv.hit_share"]) > 0 == float(table[3]["kv.hit_share"])
    record = json.loads((tmp_path / "out" / "results.json").read_text())
    assert record["provenance"]["command"][:2] == ["hwroute", "sweep"]
    assert record["provenance"]["hwroute"]
    assert rows[0]["point"]["seed"] == 1


def test_the_examples_are_sweeps() -> None:
    examples = Path(__file__).resolve().parents[2] / "examples"
    small, large = (read_points(examples / name) for name in EXAMPLES)
    assert (len(small), len(large)) == (7, 200)
    assert {point.model for point in large} == {"llama2-7b"}
    page = (examples.parent / "docs" / "cli.md").read_text(encoding="utf-8")
    assert (examples / EXAMPLES[0]).read_text(encoding="utf-8").partition("\n\n")[2] in page


def test_a_dry_run_says_what_would_run_and_writes_nothing(file: Path, tmp_path: Path) -> None:
    result = run("sweep", file, "-o", tmp_path / "out", "--dry-run")
    assert result.exit_code == 0, result.output
    assert "4 points, 0 of them finished" in result.stdout
    assert "   3 skip=0.4 kv_buffer=True" in result.stdout
    assert not (tmp_path / "out").exists()
    rows = json.loads(run("sweep", file, "-o", tmp_path / "out", "--dry-run", "--json").stdout)
    assert [row["finished"] for row in rows["rows"]] == [False] * 4


def test_a_bad_point_is_a_line_and_the_others_are_not_lost(file: Path, tmp_path: Path) -> None:
    more = "[[points]]\nskip = 1.5\n[[points]]\nmodel = 'tinny'\n[[points]]\ndecode = 5000\n"
    file.write_text(COMMON + more + GRID, encoding="utf-8")
    result = run("sweep", file, "-o", tmp_path / "out", "--workers", 1)
    assert result.exit_code == 1
    assert result.stderr == "hwroute: 3 of 7 points failed\n"
    lines = [line for line in result.stdout.splitlines() if "failed" in line]
    assert [line.split(":")[0] for line in lines] == [f"point {at} failed" for at in (5, 6, 7)]
    assert "skip must be from 0 to below 1, not 1.5" in lines[0]
    assert "did you mean 'tiny'?" in lines[1]
    rows = rows_of(tmp_path / "out")
    assert ["figures" in row for row in rows] == [True] * 4 + [False] * 3
    # Those that were good are not run again, the bad ones are.
    again = run("sweep", file, "-o", tmp_path / "out", "--workers", 1, "--json")
    assert again.exit_code == 1
    assert rows_of(tmp_path / "out")[:4] == rows[:4]
    assert "4 of them finished" in run("sweep", file, "-o", tmp_path / "out", "--dry-run").stdout


@pytest.mark.parametrize("kind", [signal.SIGKILL, signal.SIGINT])
def test_an_interrupted_sweep_goes_on_where_it_was(file: Path, tmp_path: Path, kind: int) -> None:
    file.write_text(COMMON + "[grid]\nseed = [1, 2, 3, 4, 5, 6, 7, 8]", encoding="utf-8")
    folder = tmp_path / "out"
    finished = folder / "points.jsonl"
    words = ["sweep", str(file), "-o", str(folder), "--workers", "1"]
    start = f"from hwroute.cli import main; main({words!r})"
    process = subprocess.Popen([sys.executable, "-c", start], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (finished.exists() and finished.read_bytes().count(b"\n") >= 2):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(kind)
    _, errors = process.communicate()
    if kind == signal.SIGINT:
        assert (process.returncode, errors.strip()) == (130, "hwroute: interrupted")
    before = finished.read_bytes()
    assert 2 <= before.count(b"\n") < 8
    result = run(*words)
    assert result.exit_code == 0, result.output
    after = finished.read_bytes()
    # Lines that were there are as they were: nothing was run again.
    whole = before[: before.rfind(b"\n") + 1]
    assert after.startswith(whole)
    ids = [json.loads(line)["id"] for line in after.splitlines()]
    assert len(ids) == len(set(ids)) == 8
    assert f"{len(whole.splitlines())} of them finished before" in result.stdout


def test_a_configuration_that_changed_is_run_again(file: Path, tmp_path: Path) -> None:
    config = tmp_path / "mine.toml"
    config.write_text('base = "demo"\n', encoding="utf-8")
    text = COMMON.replace('"demo"', json.dumps(str(config))) + "[grid]\nskip = [0.2]\n"
    file.write_text(text, encoding="utf-8")
    run("sweep", file, "-o", tmp_path / "out")
    config.write_text('base = "demo"\nkv.buffer_tokens = 32\n', encoding="utf-8")
    result = run("sweep", file, "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "1 points, 0 of them finished before" in result.stdout


def test_the_front_is_drawn_against_any_column(file: Path, tmp_path: Path) -> None:
    words = ["sweep", file, "-o", tmp_path / "out", "--workers", 2]
    assert run(*words).exit_code == 0
    first = (tmp_path / "out" / "pareto.svg").read_bytes()
    assert run(*words, "--pareto", "overlay.kv_buffer_bytes").exit_code == 0
    assert (tmp_path / "out" / "pareto.svg").read_bytes() != first
    assert (tmp_path / "out" / "pareto.png").exists()
    # A column that is none comes late, when the results are there.
    result = run(*words, "--pareto", "overlay.kv_bytes")
    assert "did you mean 'overlay.kv_buffer_bytes'?" in str(result.exception) + result.stderr
    sizes = rows_of(tmp_path / "out")[0]["figures"]["overlay"]
    # 64 tokens, K and V of 128 FP16 each.
    assert sizes == {"multipliers": 1024, "hbm_ports": 4, "kv_buffer_bytes": 64 * 2 * 256}


def test_a_dask_cluster_of_two_workers_gives_the_same(file: Path, tmp_path: Path) -> None:
    file.write_text(COMMON + "[[points]]\nskip = 2\n" + GRID, encoding="utf-8")
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        address = cluster.scheduler_address
        result = run("sweep", file, "-o", tmp_path / "there", "--scheduler", address)
    assert result.exit_code == 1, result.output
    assert "1 of 5 points failed" in result.stderr
    run("sweep", file, "-o", tmp_path / "here", "--workers", 1)
    here, there = rows_of(tmp_path / "here"), rows_of(tmp_path / "there")
    for row in (*here, *there):
        row.pop("seconds", None)
    assert here == there


def test_a_scheduler_that_does_not_answer_gets_a_line(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hwroute.sim.performance.sweep_pool.CONNECT_SECONDS", 0.5)
    result = run("sweep", file, "-o", tmp_path / "out", "--scheduler", "tcp://127.0.0.1:9")
    assert result.exit_code == 2
    assert "scheduler 'tcp://127.0.0.1:9' must answer" in result.stderr
