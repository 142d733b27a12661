"""A result's provenance is complete, and equal only for equal runs."""

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from hwroute import __version__, provenance
from hwroute.config import PRESETS, to_dict


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_everything_given_is_in_the_record() -> None:
    record = provenance.collect(
        command=["hwroute", "sim"],
        config=PRESETS["demo"],
        model_hash="ab12",
        seed=7,
        tools={"g++": "12.2.0"},
    )
    assert record["hwroute"] == __version__
    assert record["command"] == ["hwroute", "sim"]
    assert record["config"] == to_dict(PRESETS["demo"])
    assert (record["model_hash"], record["seed"]) == ("ab12", 7)
    tools = record["tools"]
    assert isinstance(tools, dict)
    assert tools["g++"] == "12.2.0"
    assert {"python", "amaranth", "verilator", "numpy"} <= set(tools)
    assert json.loads(json.dumps(record)) == record


def test_what_is_not_given_is_null() -> None:
    record = provenance.collect(command=["hwroute"])
    names = ("config", "config_hash", "model_hash", "seed")
    assert [record[name] for name in names] == [None] * 4


def test_hash_ignores_the_order_of_fields_and_sees_every_value() -> None:
    demo = PRESETS["demo"]
    fields = to_dict(demo)
    backwards = dict(reversed(fields.items()))
    assert provenance.hash_of(backwards) == provenance.hash_of(fields)
    wider = replace(demo, array=replace(demo.array, columns=32))
    assert provenance.hash_of(to_dict(wider)) != provenance.hash_of(fields)


def test_revision_is_the_checkouts_commit_and_says_whether_files_differ(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provenance, "checkout", lambda: tmp_path)
    unknown = {"commit": None, "modified": None}
    assert provenance.collect(command=[]).items() >= unknown.items()
    git(tmp_path, "init")
    assert provenance.collect(command=[]).items() >= unknown.items()
    file = tmp_path / "a"
    file.write_text("1", encoding="utf-8")
    git(tmp_path, "add", "a")
    git(tmp_path, "commit", "-m", "a")
    clean = {"commit": git(tmp_path, "rev-parse", "HEAD"), "modified": False}
    assert provenance.collect(command=[]).items() >= clean.items()
    file.write_text("2", encoding="utf-8")
    assert provenance.collect(command=[])["modified"] is True


def test_installed_package_has_no_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "checkout", lambda: None)
    assert provenance.collect(command=[])["commit"] is None


def test_a_machine_without_git_has_no_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert provenance.collect(command=[])["commit"] is None


def test_a_module_of_the_package_is_named_without_its_place() -> None:
    package = Path(provenance.__file__).resolve().parent
    for file, name in (("models/bench.py", "models.bench"), ("isa/__main__.py", "isa")):
        record = provenance.collect(command=[str(package / file), "--out", "x"])
        assert record["command"] == ["python", "-m", f"hwroute.{name}", "--out", "x"]
