"""What the documents show is what happens: every command is run, every link leads somewhere.

A document shows commands in ``console`` blocks, each behind ``$ ``; lines below a command are its
output, in which ``...`` stands for any text. A block that needs a C++ compiler is ``console cpp``.
"""

import doctest
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/**/*.md"))]
STAMP = ".venv/.hwroute-setup"


@dataclass(frozen=True)
class Block:
    """A console block of a document and the number of its first line."""

    document: Path
    line: int
    info: str
    text: str

    def commands(self) -> list[tuple[str, str]]:
        """Return each command with the output that is shown below it."""
        parts = re.split(r"^\$ (.*)\n", self.text, flags=re.MULTILINE)
        assert parts[0] == "", f"{self.document}:{self.line}: output without a command"
        return list(zip(parts[1::2], parts[2::2], strict=True))


def blocks_of(document: Path) -> list[Block]:
    text = document.read_text(encoding="utf-8")
    fence = re.compile(r"^```(console[^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    return [
        Block(document, text.count("\n", 0, found.start()) + 1, found[1], found[2])
        for found in fence.finditer(text)
    ]


BLOCKS = [
    pytest.param(
        block,
        marks=[pytest.mark.cpp] if block.info == "console cpp" else [],
        id=f"{block.document.relative_to(ROOT)}:{block.line}",
    )
    for document in DOCUMENTS
    for block in blocks_of(document)
]


def runnable(command: str) -> str:
    """Return a shown command as the test runs it.

    A make target runs in the checkout with this environment in place of .venv. A target that runs
    the tests is only resolved, since it would run this test in turn.
    """
    words = shlex.split(command)
    if words[0] != "make":
        return command
    bin_folder = Path(sys.executable).parent
    options = [f"--directory={ROOT}", "--no-print-directory", f"--assume-old={STAMP}"]
    if any(word.startswith("test") for word in words[1:]):
        options.append("--dry-run")
    return shlex.join(["make", *options, f"BIN={bin_folder}", *words[1:]])


@pytest.mark.parametrize("block", BLOCKS)
def test_shown_commands_do_what_is_shown(block: Block, tmp_path: Path) -> None:
    # Not the options of a `make test` that runs this test.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    environment["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    for command, shown in block.commands():
        done = subprocess.run(
            runnable(command),
            shell=True,
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"$ {command}\n{done.stdout}{done.stderr}"
        same = doctest.OutputChecker().check_output(shown, done.stdout, doctest.ELLIPSIS)
        assert not shown or same, f"$ {command}\n{done.stdout}"


def test_the_readme_shows_the_two_commands() -> None:
    shown = {command for block in blocks_of(ROOT / "README.md") for command, _ in block.commands()}
    assert {"make sim", "make test"} <= shown


def test_console_blocks_are_of_a_known_kind() -> None:
    kinds = {block.info for document in DOCUMENTS for block in blocks_of(document)}
    assert kinds <= {"console", "console cpp"}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_files(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    targets = re.findall(r"\]\((?!https?://|#)([^)#]+)", text)
    assert [target for target in targets if not (document.parent / target).exists()] == []


def test_every_page_but_generated_results_is_in_the_index() -> None:
    docs = ROOT / "docs"
    index = (docs / "index.md").read_text(encoding="utf-8")
    pages = {path.relative_to(docs) for path in docs.glob("**/*.md")} - {Path("index.md")}
    written = [page.as_posix() for page in sorted(pages) if page.parts[0] != "results"]
    assert [page for page in written if f"({page})" not in index] == []
