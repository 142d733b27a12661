"""``hwroute perf``: figures of the performance model, and what they rest on."""

import json
from typing import Any

import pytest
from click.testing import CliRunner

from hwroute.cli import main

SMALL = "perf -m tiny -c demo --prefill 8 --decode 6"


def run(line: str) -> Any:
    return CliRunner().invoke(main, line.split())


def test_it_says_figures_and_what_they_rest_on() -> None:
    result = run(f"{SMALL} --skip 0.3 --seed 4")
    assert result.exit_code == 0, result.output
    assert "token/s in decode" in result.stdout
    assert "assumption: synthetic decisions" in result.stdout
    assert "seed 4" in result.stdout
    assert "ddr_latency_ns" in result.stdout


def test_figures_agree_with_each_other() -> None:
    fields = json.loads(run(f"{SMALL} --json").stdout)
    seconds = fields["prefill_seconds"] + fields["decode_seconds"]
    # The first of six tokens comes with the prompt.
    assert fields["tokens_per_second"] == pytest.approx(5 / fields["decode_seconds"])
    assert fields["tokens_per_second_with_prefill"] == pytest.approx(6 / seconds)
    assert fields["steps_simulated"] == 5
    assert fields["error"] == 0
    read = ("weights", "kv_read", "scales", "ddr_read", "program")
    moved = sum(fields["bytes"][kind] for kind in read)
    assert fields["bytes_per_token"] == pytest.approx(moved / 5)


def test_what_is_skipped_and_kept_changes_what_moves() -> None:
    dense, routed, without = (
        json.loads(run(f"{SMALL} --json {more}").stdout)
        for more in ("--skip 0", "--skip 0.4", "--skip 0.4 --no-kv-buffer")
    )
    assert dense["skip"] == {"attention": 0, "ffn": 0}
    assert routed["bytes"]["weights"] < dense["bytes"]["weights"]
    assert routed["kv"]["hit_share"] > 0 == without["kv"]["hit_share"]
    assert without["bytes"]["kv_read"] > routed["bytes"]["kv_read"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("--skip 1", "skip must be from 0 to below 1, not 1.0"),
        ("-d u28", "did you mean 'u280'"),
        ("--prefill 0", "at least 1"),
        ("--layer-correlation 2", "layer correlation must be from 0 to below 1, not 2.0"),
    ],
)
def test_bad_input_gets_a_line(more: str, message: str) -> None:
    result = run(f"{SMALL} {more}")
    assert result.exit_code != 0
    assert message in str(result.exception) + result.output
