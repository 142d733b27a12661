"""``make`` says what is missing before anything fails for want of it."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

UTILITIES = ("sh", "make", "sed", "awk", "touch", "mkdir")


@pytest.fixture
def checkout(root: Path, tmp_path: Path) -> Path:
    """Return a folder with the Makefile, what it looks at, and ``bin``: all that is on PATH.

    ``bin/python3`` stands in for Python: it makes ``.venv/bin/python``, which only notes what it is
    asked to do in ``calls``. There are g++ and perl, and the user is not root.
    """
    shutil.copy(root / "Makefile", tmp_path)
    for name in ("rtl", "sim", "models"):
        (tmp_path / "hwroute" / name).mkdir(parents=True)
    for name in ("pyproject.toml", "constraints.txt", "setup.py"):
        (tmp_path / name).touch()
    (tmp_path / "bin").mkdir()
    for name in UTILITIES:
        found = shutil.which(name)
        assert found is not None
        (tmp_path / "bin" / name).symlink_to(found)
    for name in ("g++", "perl"):
        program(tmp_path, name, "exit 0")
    program(tmp_path, "id", "echo 1000")
    note = "#!/bin/sh\\necho pip \\$* >> calls\\n"
    program(
        tmp_path,
        "python3",
        'case "$*" in\n'
        f'  "-m venv .venv") mkdir -p .venv/bin && printf "{note}" > .venv/bin/python'
        f" && {shutil.which('chmod')} +x .venv/bin/python ;;\n"
        "esac",
    )
    return tmp_path


def program(checkout: Path, name: str, script: str) -> None:
    """Put a program on the PATH of `make`."""
    file = checkout / "bin" / name
    file.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    file.chmod(0o755)


def make(checkout: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", "--no-print-directory", *arguments],
        cwd=checkout,
        env={"PATH": str(checkout / "bin")},
        capture_output=True,
        text=True,
    )


def test_setup_installs_the_pinned_versions_and_is_quick_the_second_time(checkout: Path) -> None:
    done = make(checkout, "setup")
    assert done.returncode == 0, done.stderr
    calls = (checkout / "calls").read_text(encoding="utf-8")
    assert "--constraint constraints.txt" in calls
    assert "--editable . --group dev" in calls
    (checkout / "calls").unlink()
    assert make(checkout, "setup").returncode == 0
    assert not (checkout / "calls").exists()


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_setup_runs_again_when_what_it_installs_changes(checkout: Path, name: str) -> None:
    make(checkout, "setup")
    (checkout / "calls").unlink()
    stamp = checkout / ".venv" / ".hwroute-setup"
    later = stamp.stat().st_mtime + 10
    os.utime(checkout / name, (later, later))
    make(checkout, "setup")
    assert (checkout / "calls").exists()


def test_missing_programs_are_named_in_one_line_with_what_installs_them(checkout: Path) -> None:
    (checkout / "bin" / "g++").unlink()
    (checkout / "bin" / "perl").unlink()
    done = make(checkout, "setup")
    assert done.stderr.splitlines()[0] == (
        "setup: missing: g++ perl; on Debian: sudo apt-get install g++ perl"
    )
    assert "Error 3" in done.stderr
    assert done.returncode != 0
    assert not (checkout / ".venv").exists()


def test_python_without_venv_is_named(checkout: Path) -> None:
    program(checkout, "python3", 'case "$*" in *ensurepip*) exit 1 ;; esac')
    done = make(checkout, "setup")
    assert "setup: missing: python3-venv; on Debian: sudo apt-get install" in done.stderr


def test_an_old_python_is_refused(checkout: Path) -> None:
    program(checkout, "python3", 'case "$*" in *version_info*) exit 1 ;; esac')
    done = make(checkout, "setup")
    assert done.stderr.splitlines()[0].startswith("setup: Python 3.11 or newer is needed")


def test_root_on_debian_gets_what_is_missing_and_is_told(checkout: Path) -> None:
    (checkout / "bin" / "g++").unlink()
    program(checkout, "id", "echo 0")
    program(checkout, "apt-get", "echo apt-get $* >> calls")
    done = make(checkout, "setup")
    assert done.returncode == 0, done.stderr
    assert "setup: installing g++ with apt-get" in done.stdout
    calls = (checkout / "calls").read_text(encoding="utf-8").splitlines()
    assert calls[1] == "apt-get install -qq -y --no-install-recommends g++"


def test_links_that_became_text_files_stop_every_target(checkout: Path) -> None:
    (checkout / "hwroute" / "sim").rmdir()
    (checkout / "hwroute" / "sim").write_text("../sim", encoding="utf-8")
    for target in ("setup", "help"):
        done = make(checkout, target)
        assert done.returncode != 0
        (line,) = done.stderr.splitlines()
        assert "must link to folders: git config core.symlinks true && git checkout" in line


def test_every_target_is_in_the_help_and_depends_on_setup(root: Path, checkout: Path) -> None:
    text = (root / "Makefile").read_text(encoding="utf-8")
    phony = re.search(r"^\.PHONY: (.*)$", text, re.MULTILINE)
    assert phony is not None
    targets = phony[1].split()
    listed = [line.split()[1] for line in make(checkout, "help").stdout.splitlines()]
    assert sorted(listed) == sorted(targets)
    for target in set(targets) - {"help", "clean"}:
        assert "pip install" in make(checkout, "--dry-run", target).stdout, target


def test_ci_runs_the_tests_of_a_clean_checkout(root: Path) -> None:
    script = root / ".ci" / "run"
    assert script.stat().st_mode & 0o111
    assert script.read_text(encoding="utf-8").rstrip().endswith("\nmake test")
    subprocess.run(["bash", "-n", str(script)], check=True)
