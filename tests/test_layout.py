"""The folders and what each may import, as CONTRIBUTING.md states it."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

FOLDERS = ("hwroute", "models", "rtl", "sim")
LINKS = ("models", "rtl", "sim")
DOWNWARD = ("hwroute.cli.", "hwroute.api.")
"""The command line and the public API: the only packages of the core that import downward."""

MAY_IMPORT = {
    "hwroute": {"hwroute"},
    "models": {"hwroute", "models"},
    "rtl": {"hwroute", "rtl"},
    "sim": {"hwroute", "models", "rtl", "sim"},
}
"""Folder -> the folders that it knows about."""

LONGEST_FILE = 400
SOURCES = {".py", ".v", ".vlt", ".cpp", ".h", ".tcl"}


def sources(root: Path, *folders: str) -> Iterator[Path]:
    """Yield the source files below folders of the checkout; links are not followed."""
    for folder in folders:
        for path in sorted((root / folder).rglob("*")):
            if path.suffix in SOURCES and not any(
                (root / "hwroute" / link) in path.parents for link in LINKS
            ):
                yield path


def module_of(path: Path, root: Path) -> str:
    """Return the name that a file is imported by."""
    parts = list(path.relative_to(root).with_suffix("").parts)
    if parts[0] != "hwroute":
        parts.insert(0, "hwroute")
    return ".".join(parts).removesuffix(".__init__")


def imports(text: str, module: str, *, is_package: bool) -> Iterator[str]:
    """Yield the full name of everything that a module imports, wherever it does."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                up = node.level - is_package
                package = module.split(".")[: len(module.split(".")) - up]
                base = ".".join([*package, base] if base else package)
            yield from (f"{base}.{alias.name}" for alias in node.names)


def folder_of(name: str) -> str:
    """Return the folder that an imported name of hwroute lives in."""
    part = f"{name}.".split(".")[1]
    return part if part in LINKS else "hwroute"


def offences(text: str, module: str, *, is_package: bool = False) -> list[str]:
    """Return the imports of a module that the table forbids."""
    if f"{module}.".startswith(DOWNWARD):
        return []
    found = []
    for name in imports(text, module, is_package=is_package):
        if name.split(".")[0] != "hwroute":
            continue
        upward = f"{name}.".startswith(DOWNWARD)
        if upward or folder_of(name) not in MAY_IMPORT[folder_of(module)]:
            found.append(name)
    return found


def test_every_import_stays_in_the_table(root: Path) -> None:
    found = {
        str(path.relative_to(root)): wrong
        for path in sources(root, *FOLDERS)
        if path.suffix == ".py"
        and (
            wrong := offences(
                path.read_text(encoding="utf-8"),
                module_of(path, root),
                is_package=path.name == "__init__.py",
            )
        )
    }
    assert found == {}


@pytest.mark.parametrize(
    ("module", "text", "forbidden"),
    [
        ("hwroute.trace", "import hwroute.sim.harness", ["hwroute.sim.harness"]),
        ("hwroute.trace", "from hwroute import rtl", ["hwroute.rtl"]),
        ("hwroute.trace", "from . import models", ["hwroute.models"]),
        ("hwroute.trace", "def f():\n    from hwroute.cli import main", ["hwroute.cli.main"]),
        ("hwroute.models.golden", "from hwroute.rtl.pe import PE", ["hwroute.rtl.pe.PE"]),
        ("hwroute.models.golden", "from ..sim import units", ["hwroute.sim.units"]),
        ("hwroute.rtl.pe", "from hwroute.models import ops", ["hwroute.models.ops"]),
        ("hwroute.sim.units", "from hwroute.rtl.pe import PE", []),
        ("hwroute.sim.units", "from hwroute.models import ops", []),
        ("hwroute.models.golden", "from .ops import matmul\nimport numpy", []),
        ("hwroute.cli.sim", "from hwroute.sim import harness", []),
        ("hwroute.api", "from hwroute.models import ops", []),
        ("hwroute.api.runs", "from hwroute.models import ops", []),
        ("hwroute.trace", "from hwroute.api.runs import generate", ["hwroute.api.runs.generate"]),
        ("hwroute.apis", "from hwroute.models import ops", ["hwroute.models.ops"]),
    ],
)
def test_forbidden_imports_are_seen(module: str, text: str, forbidden: list[str]) -> None:
    assert offences(text, module) == forbidden


def normal(name: str) -> str:
    """Return a distribution's name as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_foreign_import_is_a_declared_dependency(root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    lines = [*project["dependencies"], *extras["train"], *extras["cluster"]]
    declared = {normal(re.split(r"[<>=!~;\[ ]", line)[0]) for line in lines}
    distributions = metadata.packages_distributions()
    foreign = {
        name.split(".")[0]: path
        for path in sources(root, *FOLDERS)
        if path.suffix == ".py"
        for name in imports(
            path.read_text(encoding="utf-8"),
            module_of(path, root),
            is_package=path.name == "__init__.py",
        )
        if name.split(".")[0] not in {*sys.stdlib_module_names, "hwroute"}
    }
    undeclared = {
        name: str(path.relative_to(root))
        for name, path in foreign.items()
        if not declared & {normal(found) for found in distributions.get(name, [name])}
    }
    assert undeclared == {}


@pytest.mark.parametrize("name", LINKS)
def test_subpackages_are_tracked_relative_links(root: Path, name: str) -> None:
    link = root / "hwroute" / name
    assert link.is_symlink()
    assert str(link.readlink()) == f"../{name}"
    listed = subprocess.run(
        ["git", "-C", str(root), "ls-files", "--stage", f"hwroute/{name}"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert listed.startswith("120000 ")


@pytest.mark.parametrize("name", LINKS)
@pytest.mark.parametrize("statement", ["import {}", "from {} import x", "import {}.x"])
def test_ruff_refuses_imports_that_make_a_second_copy(
    root: Path, name: str, statement: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--select", "TID251", "--stdin-filename", "x.py"],
        input=f"{statement.format(name)}\n",
        capture_output=True,
        text=True,
        cwd=root,
    )
    assert done.returncode == 1
    assert f"import hwroute.{name}" in done.stdout


def test_no_source_file_is_longer_than_a_reader_bears(root: Path) -> None:
    lengths = {
        str(path.relative_to(root)): len(path.read_text(encoding="utf-8").splitlines())
        for path in sources(root, *FOLDERS, "tests", "examples")
    }
    assert {path: lines for path, lines in lengths.items() if lines > LONGEST_FILE} == {}


def test_every_folder_has_sources(root: Path) -> None:
    for folder in (*FOLDERS, "tests"):
        assert any(sources(root, folder)), folder
