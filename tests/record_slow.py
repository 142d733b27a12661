"""Run the slow tests and write what came of them into a folder: ``make record-slow``.

A page says how many tests of each file passed, and how long they took; a JSON file beside it says
the same for every test, with the provenance. The exit code is pytest's.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from xml.etree import ElementTree

from hwroute import provenance

PAGE = """# Slow tests

Written by `make record-slow`: what `pytest -m slow` said. Seconds include builds that were not
there yet.

{total}

| tests of | passed | failed | skipped | seconds |
| --- | ---: | ---: | ---: | ---: |
"""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of one test.

    Parameters
    ----------
    file, name
        Which one.
    result
        "passed", "failed" or "skipped".
    seconds
        Wall time, with set-up.
    """

    file: str
    name: str
    result: str
    seconds: float


def outcomes(report: Path) -> list[Outcome]:
    """Read pytest's JUnit report; a test that broke down in its set-up has failed."""
    found = []
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        kinds = {child.tag for child in case}
        result = "failed" if kinds & {"failure", "error"} else "passed"
        found.append(
            Outcome(
                # A module that is skipped whole has its name in place of a test's.
                file=(case.attrib["classname"] or case.attrib["name"]).replace(".", "/") + ".py",
                name=case.attrib["name"],
                result="skipped" if "skipped" in kinds else result,
                seconds=float(case.attrib["time"]),
            )
        )
    return found


def page(found: list[Outcome]) -> str:
    """Return the page: a line for each file, in order, and the sum."""
    lines = []
    for file in dict.fromkeys(one.file for one in found):
        part = [one for one in found if one.file == file]
        counts = Counter(one.result for one in part)
        seconds = sum(one.seconds for one in part)
        lines.append(
            f"| `{file}` | {counts['passed']} | {counts['failed']} | {counts['skipped']} | "
            f"{seconds:.0f} |"
        )
    counts = Counter(one.result for one in found)
    total = ", ".join(f"{counts[result]} {result}" for result in ("passed", "failed", "skipped"))
    return PAGE.format(total=f"In all {total}.") + "\n".join(lines) + "\n"


def main() -> int:
    """Run pytest, write test-slow.md and test-slow.json, return pytest's exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="Folder to write into.")
    parser.add_argument("tests", nargs="*", help="Instead of all slow tests, as pytest takes them.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        pytest = Path(sys.executable).with_name("pytest")
        command = [str(pytest), "-m", "slow", f"--junitxml={report}", *options.tests]
        code = subprocess.run(command, check=False).returncode
        if not report.exists():
            return code
        found = outcomes(report)
    record = {
        "tests": [asdict(one) for one in found],
        "provenance": provenance.collect(command=["make", "record-slow"]),
    }
    options.out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(record, indent=2) + "\n"
    (options.out / "test-slow.json").write_text(text, encoding="utf-8")
    (options.out / "test-slow.md").write_text(page(found), encoding="utf-8")
    return code


if __name__ == "__main__":
    sys.exit(main())
