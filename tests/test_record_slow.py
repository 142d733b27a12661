"""What came of the slow tests is written down as it was, failures too."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = """
import pytest

@pytest.fixture
def broken():
    raise OSError

@pytest.mark.slow
@pytest.mark.parametrize("number", [1, 2])
def test_passes(number): pass

@pytest.mark.slow
def test_fails(): assert False

@pytest.mark.slow
def test_breaks(broken): pass

@pytest.mark.slow
@pytest.mark.skip
def test_skipped(): pass

def test_quick(): assert False
"""


def record(root: Path, folder: Path, tests: str) -> subprocess.CompletedProcess[str]:
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = slow\n", encoding="utf-8")
    (folder / "test_some.py").write_text(tests, encoding="utf-8")
    script = str(root / "tests" / "record_slow.py")
    return subprocess.run(
        # -P: beside the script, tests/hwroute would shadow the package.
        [sys.executable, "-P", script, "--out", "out", "test_some.py"],
        cwd=folder,
        capture_output=True,
        text=True,
    )


def test_every_result_is_counted(root: Path, tmp_path: Path) -> None:
    done = record(root, tmp_path, TESTS)
    assert done.returncode == 1, done.stderr
    page = (tmp_path / "out" / "test-slow.md").read_text(encoding="utf-8")
    assert "In all 2 passed, 2 failed, 1 skipped." in page
    assert "| `test_some.py` | 2 | 2 | 1 | 0 |" in page
    found = json.loads((tmp_path / "out" / "test-slow.json").read_text(encoding="utf-8"))
    assert {one["name"]: one["result"] for one in found["tests"]} == {
        "test_passes[1]": "passed",
        "test_passes[2]": "passed",
        "test_fails": "failed",
        "test_breaks": "failed",
        "test_skipped": "skipped",
    }
    assert found["provenance"]["command"] == ["make", "record-slow"]


@pytest.mark.parametrize(
    ("tests", "code"), [("def test_quick(): pass", 5), (TESTS.replace("assert False", "pass"), 1)]
)
def test_the_exit_code_is_that_of_pytest(root: Path, tmp_path: Path, tests: str, code: int) -> None:
    assert record(root, tmp_path, tests).returncode == code
