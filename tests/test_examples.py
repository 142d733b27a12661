"""Every example runs from anywhere, writes nothing, and shows what it says."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
SCRIPTS = sorted(path.name for path in EXAMPLES.glob("*.py"))


def output_of(script: str, folder: Path) -> str:
    """Run an example in an empty folder; return what it printed."""
    done = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLES / script)],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert list(folder.iterdir()) == []
    return done.stdout


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_example_runs_from_an_empty_folder(script: str, tmp_path: Path) -> None:
    assert output_of(script, tmp_path)


def test_the_page_lists_every_example() -> None:
    page = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"\]\((.*\.py)\)", page)) == SCRIPTS


def test_own_policy_skips_what_its_table_says(tmp_path: Path) -> None:
    own, ours = re.split(r"^half-table", output_of("own_policy.py", tmp_path), flags=re.MULTILINE)
    assert own.startswith("skipgpt: ")
    # Two of six layers, for every token.
    assert "skipped  33.3% of attention" in ours
    assert "skipped  33.3% of attention" not in own
    losses = [float(loss) for loss in re.findall(r"loss +([\d.]+) nats", own + ours)]
    # Untrained for it, and still far from the 4.85 of guessing one of 128 characters.
    assert losses[0] < losses[1] < 2


def test_read_trace_shows_who_skipped_and_the_bits_of_an_operation(tmp_path: Path) -> None:
    shown = output_of("read_trace.py", tmp_path)
    skips = dict(re.findall(r"^  (layers\.\S+\.decide) +(.*)$", shown, re.MULTILINE))
    # One router in front of every sub-layer of six layers but the first attention.
    assert len(skips) == 11
    rows = re.search(r"ran for tokens \[([\d, ]+)\]", shown)
    assert rows is not None
    skipped = (
        0 if skips["layers.3.ffn.decide"] == "-" else len(skips["layers.3.ffn.decide"].split())
    )
    assert len(rows[1].split(",")) + skipped == len("First Citizen:")
    assert re.search(r"\[0, 0\]  0x[0-9a-f]{4} = -?\d", shown)


def test_import_checkpoint_runs_what_it_imported(tmp_path: Path) -> None:
    shown = output_of("import_checkpoint.py", tmp_path)
    files = re.findall(r"^  (\S+) +\d+ bytes$", shown, re.MULTILINE)
    assert files == ["config.json", "int4.safetensors", "model.safetensors", "routing.toml"]
    tokens = [re.findall(r"\d+", line) for line in re.findall(r"\[([\d, ]+)\]", shown)]
    # The first token is clear enough for the rounding of the weights.
    assert [len(line) for line in tokens] == [8, 8]
    assert tokens[0][0] == tokens[1][0]
