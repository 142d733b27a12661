"""``hwroute perf``: figures of the performance model, and what they rest on."""

import csv
import json
from pathlib import Path
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
    for title in ("What the array works on", "What moves", "What is used in decode"):
        assert title in result.stdout


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
    # Efficiency is of HBM alone: what it read over four ports of 14.4 GB/s.
    assert fields["peak_gb_s"] == pytest.approx(4 * 14.4)
    from_hbm = fields["bytes"]["weights"] + fields["bytes"]["kv_read"]
    assert fields["hbm_bytes_per_token"] == pytest.approx(from_hbm / 5)
    assert fields["bandwidth_efficiency"] == pytest.approx(
        fields["hbm_bytes_per_token"] * fields["tokens_per_second"] / 57.6e9
    )
    assert fields["bound"]["tokens_per_second"] > fields["tokens_per_second"]
    assert fields["bound"]["by"] == "hbm"
    assert "long sequential reads" in fields["bound"]["meaning"]


def test_what_is_skipped_and_kept_changes_what_moves() -> None:
    dense, routed, without = (
        json.loads(run(f"{SMALL} --json {more}").stdout)
        for more in ("--skip 0", "--skip 0.4", "--skip 0.4 --no-kv-buffer")
    )
    assert dense["skip"] == {"attention": 0, "ffn": 0}
    assert routed["bytes"]["weights"] < dense["bytes"]["weights"]
    assert routed["kv"]["hit_share"] > 0 == without["kv"]["hit_share"]
    assert without["bytes"]["kv_read"] > routed["bytes"]["kv_read"]
    assert dense["kv"]["storage_saved"] == 0 < routed["kv"]["storage_saved"]
    assert routed["kv"]["delivered_gb_s"] > without["kv"]["delivered_gb_s"]


def test_fusion_and_mapping_are_switches() -> None:
    usual, unfused, interleaved = (
        json.loads(run(f"{SMALL} --json {more}").stdout)
        for more in ("--kv-mapping token", "--no-fused", "--kv-mapping interleaved")
    )
    assert unfused["decode_seconds"] > usual["decode_seconds"]
    assert interleaved["kv"]["delivered_gb_s"] != usual["kv"]["delivered_gb_s"]
    assert interleaved["provenance"]["config"]["memory"]["kv_mapping"] == "interleaved"


def test_a_folder_gets_the_result_its_tables_and_pictures(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    result = CliRunner().invoke(main, [*SMALL.split(), "--json", "-o", str(folder)])
    assert result.exit_code == 0, result.output
    assert json.loads((folder / "result.json").read_text()) == json.loads(result.stdout)
    assert {"roofline.png", "roofline.svg", "decode.pftrace"} <= {
        one.name for one in folder.iterdir()
    }
    with (folder / "time.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert sum(float(row["share"]) for row in rows) == pytest.approx(1)
    assert sum(float(row["share of decode"]) for row in rows) == pytest.approx(1)
    fields = json.loads(result.stdout)
    with (folder / "bytes.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            assert float(row["a token, MB"]) == pytest.approx(fields["bytes"][row["bytes"]] / 5e6)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("--skip 1", "skip must be from 0 to below 1, not 1.0"),
        ("-d u28", "did you mean 'u280'"),
        ("--prefill 0", "at least 1"),
        ("--kv-mapping tokens", "'token', 'interleaved'"),
        ("--layer-correlation 2", "layer correlation must be from 0 to below 1, not 2.0"),
    ],
)
def test_bad_input_gets_a_line(more: str, message: str) -> None:
    result = run(f"{SMALL} {more}")
    assert result.exit_code != 0
    assert message in str(result.exception) + result.output
