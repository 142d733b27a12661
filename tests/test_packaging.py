"""What is built from the checkout is complete and works outside it."""

import json
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path
from shutil import copytree, ignore_patterns

import pytest

from hwroute import api
from hwroute.config import PRESETS, load
from hwroute.skip_map import skip_rates

FOLDERS = ("hwroute", "models", "rtl", "sim")
NOT_PACKED = {"__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache"}


@pytest.fixture(scope="module")
def wheel(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build an sdist of the checkout and from it, and nothing else, a wheel."""
    folder = tmp_path_factory.mktemp("source")
    # A copy, so that neither stale build folders get in nor new ones stay behind.
    for name in FOLDERS:
        copytree(root / name, folder / name, symlinks=True, ignore=ignore_patterns(*NOT_PACKED))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        (folder / name).write_bytes((root / name).read_bytes())
    built = tmp_path_factory.mktemp("built")
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(built), str(folder)],
        check=True,
        capture_output=True,
        text=True,
    )
    (path,) = built.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the programs' folder of an environment that holds the wheel.

    The environment finds hwroute's dependencies in the environment of the tests by a .pth line,
    so that the test downloads nothing. That line comes after the environment's own packages, and
    .pth files of the folder that it names are not read: an editable hwroute there is not seen.
    """
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--quiet", "--python", str(python), "install"]
    subprocess.run(
        [*install, "--no-deps", "--no-index", str(wheel)],
        check=True,
        capture_output=True,
        text=True,
    )
    (packages,) = folder.glob("lib/python*/site-packages")
    dependencies = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (packages / "dependencies.pth").write_text("\n".join(dependencies), encoding="utf-8")
    return folder / "bin"


def run(program: Path, *arguments: str, cwd: Path) -> str:
    """Run an installed program in `cwd` with nothing of the caller's Python settings."""
    environment = {key: value for key, value in os.environ.items() if "PYTHON" not in key}
    return subprocess.run(
        [str(program), *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_wheel_holds_every_file_of_the_four_folders_and_no_other(root: Path, wheel: Path) -> None:
    expected = set()
    for folder in FOLDERS:
        for directory, names, files in os.walk(root / folder):
            names[:] = set(names) - NOT_PACKED
            place = Path(directory).relative_to(root)
            below = place if folder == "hwroute" else "hwroute" / place
            expected |= {(below / file).as_posix() for file in files}
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert packed == expected


def test_hwroute_is_the_only_top_level_name(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        top = {name.split("/")[0] for name in archive.namelist()}
        licence = [name for name in archive.namelist() if name.endswith("/LICENSE")]
    assert {name for name in top if not name.endswith(".dist-info")} == {"hwroute"}
    assert licence


def test_installed_package_is_not_the_checkout(installed: Path, tmp_path: Path, root: Path) -> None:
    script = (
        "import hwroute, hwroute.rtl, hwroute.sim; print(hwroute.__file__, hwroute.rtl.__file__)"
    )
    for path in run(installed / "python", "-c", script, cwd=tmp_path).split():
        assert Path(path).is_relative_to(installed.parent)
        assert not Path(path).is_relative_to(root)


def test_installed_command_runs_from_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    assert "config" in run(installed / "hwroute", "--help", cwd=tmp_path)
    shown = run(installed / "hwroute", "config", "show", "u280", cwd=tmp_path)
    assert list(tmp_path.iterdir()) == []
    file = tmp_path / "shown.toml"
    file.write_text(shown, encoding="utf-8")
    assert load(str(file)) == PRESETS["u280"]


def test_installed_command_generates_from_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    # Weights, tokeniser and policy come from the wheel; the checkout's own answer is the measure.
    words = ["generate", "-p", "First Citizen:", "-n", "8", "--json"]
    result = json.loads(run(installed / "hwroute", *words, cwd=tmp_path))
    assert list(tmp_path.iterdir()) == []
    expected = api.generate(api.load("tiny"), "First Citizen:", 8)
    assert result["token_ids"] == expected.token_ids
    assert result["text"] == expected.text == "\nWhat sh"
    assert result["skip"] == skip_rates(expected.executed)


def test_build_from_text_files_in_place_of_links_stops(root: Path, tmp_path: Path) -> None:
    (tmp_path / "hwroute").mkdir()
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        (tmp_path / name).write_bytes((root / name).read_bytes())
    for name in ("rtl", "sim", "models"):
        (tmp_path / "hwroute" / name).write_text(f"../{name}", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--wheel", str(tmp_path)],
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert "hwroute/rtl must link to the folder ../rtl: git config core.symlinks" in done.stderr


def test_version_is_the_same_everywhere(root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    citation = (root / "CITATION.cff").read_text(encoding="utf-8")
    assert re.findall(r"^version: (.*)$", citation, re.MULTILINE) == [project["version"]]


def test_constraints_pin_every_dependency_that_setup_installs(root: Path) -> None:
    settings = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = [*settings["project"]["dependencies"], *settings["dependency-groups"]["dev"]]
    names = {re.split(r"[<>=!~;\[ ]", line)[0] for line in wanted}
    lines = (root / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {line.partition("==")[0] for line in lines if "==" in line}
    assert names <= pinned
    assert [line for line in lines if "==" not in line and not line.startswith("#")] == []


def test_licence_is_the_declared_one(root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    text = (root / "LICENSE").read_text(encoding="utf-8")
    assert project["license"] == "Apache-2.0"
    assert "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text
