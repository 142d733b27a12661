"""Where runs write, and how a checkout without links is refused."""

import subprocess
import sys
from pathlib import Path

import pytest

from hwroute import paths
from hwroute.errors import InputError


def test_a_checkout_builds_in_its_build_folder(root: Path) -> None:
    assert paths.checkout() == root
    assert paths.build_dir() == root / "build"


def test_build_dir_given_by_the_user_wins(tmp_path: Path) -> None:
    assert paths.build_dir(tmp_path) == tmp_path


@pytest.mark.parametrize(
    "pyproject", [None, "[project]\nname = 'other'\n", "[tool.x]\n", "not toml"]
)
def test_outside_a_checkout_builds_go_to_the_users_cache(
    tmp_path: Path, pyproject: str | None
) -> None:
    package = tmp_path / "lib" / "hwroute"
    package.mkdir(parents=True)
    for file in ("__init__.py", "paths.py", "errors.py"):
        text = (paths.PACKAGE / file).read_text(encoding="utf-8")
        (package / file).write_text(text, encoding="utf-8")
    if pyproject is not None:
        (package.parent / "pyproject.toml").write_text(pyproject, encoding="utf-8")
    script = (
        f"import sys; sys.path.insert(0, {str(package.parent)!r})\n"
        "from hwroute import paths\n"
        "print(paths.checkout(), paths.build_dir())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env={"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")},
    )
    checkout, build = done.stdout.split()
    assert checkout == "None"
    assert Path(build).is_relative_to(tmp_path)
    assert not Path(build).is_relative_to(package.parent)


def test_links_of_this_checkout_are_folders() -> None:
    paths.check_links()


def test_a_link_that_became_a_text_file_is_refused_with_the_line_that_mends_it(
    tmp_path: Path,
) -> None:
    for name in ("rtl", "sim"):
        (tmp_path / name).mkdir()
    (tmp_path / "models").write_text("../models", encoding="utf-8")
    expected = (
        rf"^{tmp_path}/models must link to a folder at the checkout's top level: "
        r"git config core.symlinks true && git checkout -- hwroute$"
    )
    with pytest.raises(InputError, match=expected):
        paths.check_links(tmp_path)


def test_every_broken_link_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"/rtl, .*/sim, .*/models must link"):
        paths.check_links(tmp_path)
