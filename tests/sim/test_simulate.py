"""The main job: a run of `tiny` replayed on the RTL, and faults that the comparison must report."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from hwroute import api
from hwroute.cli import main
from hwroute.config import load
from hwroute.errors import HwrouteError
from hwroute.kv import ORDER_FIELDS
from hwroute.sim.faults import FAULTS, Fault
from hwroute.sim.simulate import Job, record

SMALL = """
base = "demo"
[array]
columns = 8
kv_vectors = 1
"""
"""An array that builds quickly; geometry changes no bit."""

REPLAYED = (
    *("reduce", "decide", "matmul", "head", "scores", "attend", "kv-write", "kv-order"),
    *("normalise", "rotate", "swiglu", "add", "argmax"),
)
"""Kinds of operations that run on RTL units: all but the look-up of embeddings."""


def run(*words: str) -> Result:
    return CliRunner().invoke(main, ["sim", "-p", "First", *words])


@pytest.fixture
def small(tmp_path: Path) -> str:
    path = tmp_path / "small.toml"
    path.write_text(SMALL, encoding="utf-8")
    return str(path)


def check_all_equal(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.output
    fields: dict[str, Any] = json.loads(result.stdout)
    assert fields["match"]
    assert fields["mismatches"] == 0
    assert fields["first_divergence"] is None
    for kind in REPLAYED:
        assert fields["operations_in_rtl"][kind] == fields["operations"][kind] > 0, kind
    assert fields["records"] == sum(fields["operations"][kind] for kind in REPLAYED)
    return fields


@pytest.mark.cpp
@pytest.mark.parametrize("stall", ["0", "0.5"])
def test_every_routed_operation_of_a_run_is_equal_on_rtl(stall: str) -> None:
    fields = check_all_equal(run("-n", "3", "--stall", stall, "--json"))
    assert len(fields["token_ids"]) == 3
    assert 0 < fields["skip"]["attention"] < 1
    assert set(fields["units"]) == {
        "array",
        "fused-reduction",
        "reduction",
        "npe",
        "router",
        "kv",
        "kv-buffer",
    }


@pytest.mark.cpp
def test_dense_kv_and_no_routing_are_equal_on_rtl_too() -> None:
    check_all_equal(run("-n", "2", "--kv", "dense", "--json"))
    result = run("-n", "2", "--routing", "off", "--json")
    assert result.exit_code == 0, result.output
    fields = json.loads(result.stdout)
    assert fields["match"]
    assert fields["skip"] == {"attention": 0.0, "ffn": 0.0}
    assert "decide" not in fields["operations"]


@pytest.mark.cpp
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_planted_fault_fails_and_is_named(fault: Fault, small: str) -> None:
    result = run("-n", "1", "-c", small, "--fault", fault.name)
    assert result.exit_code == 1, result.output
    assert "MISMATCH" in result.stdout
    (line,) = result.stderr.splitlines()
    found = re.search(
        r"unit (\S+), operation (\d+) \((\S+)\), (\S+)\[([\d, ]+)\]: "
        r"golden (0x\w+ \(.+\)|absent), RTL (0x\w+ \(.+\)|present);",
        line,
    )
    assert found, line
    assert found[1] == fault.unit
    assert f"--only {found[2]} --waves --fault {fault.name}" in line
    assert f"waves/{fault.unit}/dump.vcd" in line


@pytest.mark.cpp
def test_one_operation_can_be_replayed_alone(small: str) -> None:
    whole = json.loads(run("-n", "1", "-c", small, "--json").stdout)
    one = run("-n", "1", "-c", small, "--only", "3", "--json")
    assert one.exit_code == 0, one.output
    fields = json.loads(one.stdout)
    assert fields["operations"] == {"matmul": 1}
    assert 0 < fields["cycles"] < whole["cycles"]


@pytest.mark.cpp
def test_an_order_replayed_alone_finds_the_buffer_as_the_run_left_it(small: str) -> None:
    tiny = api.load("tiny")
    job = Job(prompt=api.encode(tiny, "First"), tokens=3)
    _, operations, *_ = record(tiny, load(small), tiny.policy, job)
    hits = ORDER_FIELDS.index("hit")
    number = next(
        item.record.id
        for item in operations
        if item.record.operator == "kv-order" and item.record.outputs["order"][:, hits].any()
    )
    alone = run("-n", "3", "-c", small, "--only", str(number), "--json")
    assert alone.exit_code == 0, alone.output
    fields = json.loads(alone.stdout)
    assert fields["operations"] == {"kv-order": 1}
    assert set(fields["units"]) == {"kv", "kv-buffer"}


def test_only_of_an_operation_that_no_unit_runs_is_refused() -> None:
    result = run("-n", "1", "--only", "0")
    assert result.exit_code == 2
    assert "--only must be the id of an operation that a unit runs" in result.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--stall", "0.95"), "--stall must be from 0 to 0.9, not 0.95"),
        (("--fault", "array-roundin"), "did you mean 'array-rounding'"),
        (("-n", "0"), "tokens to generate must be at least 1, not 0"),
        (("-n", "999"), "must fit the model's context of 256, not 5 \\+ 999"),
        (("-m", "tinny"), "did you mean 'tiny'"),
        (("-c", "dem"), "did you mean 'demo'"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(words: tuple[str, ...], message: str) -> None:
    result = run(*words)
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert re.search(message, line), line


def test_a_fault_that_fits_nowhere_is_reported() -> None:
    fault = FAULTS["router-count"]
    with pytest.raises(HwrouteError, match="no module matches"):
        fault.plant("module other(a);\nendmodule\n")
    with pytest.raises(HwrouteError, match=r"must be assigned once in .*, not 0 times"):
        fault.plant("module harness.unit (a);\nendmodule\n")
