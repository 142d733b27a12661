"""The commands that run models and emit Verilog."""

import json
import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from hwroute.cli import main
from hwroute.trace import Trace

PROMPT = "First Citizen:"


def run(line: str) -> Result:
    return CliRunner().invoke(main, shlex.split(line))


def refused(line: str, message: str) -> None:
    result = run(line)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    (shown,) = result.stderr.splitlines()
    assert re.search(message, shown), shown


def test_generate_continues_a_prompt_with_its_skips() -> None:
    result = run(f"generate -p '{PROMPT}' -n 8 --json")
    assert result.exit_code == 0, result.output
    fields = json.loads(result.stdout)
    assert fields["prompt_ids"] == list(PROMPT.encode())
    assert bytes(fields["token_ids"]).decode() == fields["text"]
    assert len(fields["token_ids"]) == 8
    assert 0 < fields["skip"]["attention"] < 1
    assert fields["overflowed"] == []
    assert fields["provenance"]["config"]["name"] == "demo"


def test_prompt_ids_are_the_same_prompt() -> None:
    ids = ",".join(str(byte) for byte in PROMPT.encode())
    text = json.loads(run(f"generate -p '{PROMPT}' -n 4 --json").stdout)
    numbers = json.loads(run(f"generate --prompt-ids {ids} -n 4 --json").stdout)
    assert numbers["token_ids"] == text["token_ids"]


def test_generate_draws_the_skip_map(tmp_path: Path) -> None:
    picture = tmp_path / "skips.png"
    result = run(f"generate -p 'Who' -n 3 --skips --skip-picture {picture}")
    assert result.exit_code == 0, result.output
    assert re.search(r"^5 ffn +[█·]{5} +\d+ %$", result.stdout, re.MULTILINE)
    assert picture.stat().st_size > 1000


def test_traces_of_one_program_compare_equal_and_others_are_refused(tmp_path: Path) -> None:
    a, b, other = (tmp_path / name for name in ("a", "b", "other"))
    for path, more in ((a, ""), (b, ""), (other, "--kv dense")):
        assert run(f"generate -p '{PROMPT}' -n 2 --trace {path} {more}").exit_code == 0
    result = run(f"compare {a} {b} --json")
    assert result.exit_code == 0, result.output
    fields = json.loads(result.stdout)
    assert fields["match"]
    assert fields["records"] > 100
    refused(f"compare {a} {other}", "traces must be of the same program")
    empty = tmp_path / "empty.trace"
    replace(Trace.load(a), records=[]).save(empty)
    refused(f"compare {empty} {empty}", "the first trace must have at least one record")


def test_traces_that_differ_exit_with_1(tmp_path: Path) -> None:
    a, b = (tmp_path / name for name in "ab")
    for path, count in ((a, 2), (b, 3)):
        assert run(f"generate -p '{PROMPT}' -n {count} --trace {path}").exit_code == 0
    result = run(f"compare {a} {b}")
    assert result.exit_code == 1
    assert "first divergence: operation" in result.stderr


def test_evaluate_scores_a_text(root: Path) -> None:
    heldout = root / "models" / "zoo" / "tiny" / "heldout.txt"
    losses = {}
    for on in ("reference", "golden"):
        result = run(f"evaluate --text {heldout} --limit 512 --on {on} --json")
        assert result.exit_code == 0, result.output
        fields = json.loads(result.stdout)
        assert fields["tokens"] == 510
        assert 0.1 < fields["skip"]["ffn"] < 0.4
        losses[on] = fields["nats_per_token"]
    assert losses["golden"] == pytest.approx(losses["reference"], abs=0.05)
    assert 1.2 < losses["golden"] < 1.9
    dense = json.loads(run(f"evaluate --text {heldout} --limit 512 --routing off --json").stdout)
    assert dense["skip"] == {"attention": 0.0, "ffn": 0.0}


def test_models_lists_and_shows_the_zoo() -> None:
    rows = json.loads(run("models list --json").stdout)["models"]
    assert {row["name"] for row in rows} == {"tiny", "tiny-dense", "tiny-dense-kv"}
    shown = json.loads(run("models show tiny --json").stdout)
    assert shown["layers"] == 6
    assert shown["routers"] == 11
    assert shown["policy"] == "skipgpt"
    assert "policy    skipgpt" in run("models show tiny").stdout


def test_the_weights_of_the_zoo_take_less_than_8_megabytes(root: Path) -> None:
    files = (root / "models" / "zoo").glob("*/*.safetensors")
    assert sum(path.stat().st_size for path in files) < 8_000_000


def test_verilog_is_the_same_text_every_time(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in "ab"]
    for folder in folders:
        result = run(f"verilog -o {folder} --unit router --unit fused-reduction --json")
        assert result.exit_code == 0, result.output
    fields = json.loads(result.stdout)
    assert fields["modules"]["hwroute_router.v"] >= 1
    for name in fields["files"]:
        first, second = ((folder / name).read_bytes() for folder in folders)
        assert first == second
        assert str(tmp_path).encode() not in first
    listed = (folders[0] / "files.f").read_text(encoding="utf-8").split()
    assert not any("sim/" in name for name in listed)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("generate -n 4", "the prompt must be given by --prompt or --prompt-ids, not by neither"),
        ("generate -p '' -n 4", "the prompt must have at least one token, not none"),
        ("generate -p x -n 256", r"must fit the model's context of 256, not 1 \+ 256"),
        ("generate -p 'é' -n 4", "'é'"),
        ("generate --prompt-ids 1,128 -n 4", "token 1 of the prompt must be from 0 to 127"),
        ("generate -p x -m tini", "did you mean 'tiny'"),
        ("generate -p x -c demos", "did you mean 'demo'"),
        ("generate -p x --on reference --trace t", "a trace must be asked from the golden model"),
        ("generate -p x --skip-picture x.gif -n 1", "picture must be a .png or .svg file"),
        ("evaluate --text missing.txt", "text missing.txt must be a readable text file"),
        ("compare missing.trace other.trace", "missing.trace"),
        ("verilog -o out --unit rooter", "did you mean 'router'"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    line: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    refused(line, message)
    assert list(tmp_path.iterdir()) == []
