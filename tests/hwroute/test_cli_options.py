"""Options that commands share, and the progress bar."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import click
import pytest

from hwroute.cli.options import (
    build_dir_option,
    check_prompt,
    config_option,
    model_option,
    on_option,
    prompt_options,
    routing_options,
)
from hwroute.cli.output import emit
from hwroute.config import PRESETS
from hwroute.errors import InputError
from hwroute.paths import build_dir
from hwroute.policy_terms import KVRule


@click.command
@model_option
@config_option
@prompt_options
@on_option("reference")
@routing_options
@build_dir_option
def probe(**options: object) -> None:
    """Report what the shared options pass on."""
    emit({}, repr(options), as_json=False)


def parsed(*words: str) -> dict[str, object]:
    with probe.make_context("probe", list(words)) as context:
        return context.params


def test_shared_options_have_the_documented_defaults() -> None:
    assert parsed() == {
        "model": "tiny",
        "config": PRESETS["demo"],
        "prompt": None,
        "prompt_ids": None,
        "on": "reference",
        "routing": True,
        "kv": None,
        "build_dir": build_dir(),
    }


def test_shared_options_convert_what_is_given(tmp_path: Path) -> None:
    words = "-m other -c u280 -p Hi --prompt-ids 1,2,30 --routing off --kv dense --on golden"
    words += f" --build-dir {tmp_path}"
    assert parsed(*words.split()) == {
        "model": "other",
        "config": PRESETS["u280"],
        "prompt": "Hi",
        "prompt_ids": (1, 2, 30),
        "on": "golden",
        "routing": False,
        "kv": KVRule.DENSE,
        "build_dir": tmp_path,
    }


@pytest.mark.parametrize("word", ["reuse", "dense", "evict"])
def test_kv_names_a_rule(word: str) -> None:
    rule = parsed("--kv", word)["kv"]
    assert isinstance(rule, KVRule)
    assert rule.value == word


@pytest.mark.parametrize("ids", ["", "1,,2", "a", "-1", "1 2", "²"])
def test_prompt_ids_must_be_numbers_with_commas(ids: str) -> None:
    with pytest.raises(InputError, match=r"--prompt-ids must be token ids with commas between"):
        parsed("--prompt-ids", ids)


def test_one_prompt_must_be_given() -> None:
    check_prompt("text", None)
    check_prompt(None, (1,))
    with pytest.raises(InputError, match=r"the prompt must be given by .* not by neither"):
        check_prompt(None, None)
    with pytest.raises(InputError, match=r"the prompt must be given by .* not by both"):
        check_prompt("text", (1,))


PROGRESS = """
from hwroute.cli.output import progress
with progress("counting", 3) as advance:
    for _ in range(3):
        advance(1)
"""


def test_progress_is_silent_where_stderr_is_no_terminal() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRESS], capture_output=True, check=True)
    assert (done.stdout, done.stderr) == (b"", b"")


def test_progress_shows_on_a_terminal_and_only_on_stderr() -> None:
    terminal, stderr = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-c", PROGRESS],
        stdout=subprocess.PIPE,
        stderr=stderr,
        check=True,
        env={**os.environ, "TERM": "xterm"},
    )
    os.close(stderr)
    shown = os.read(terminal, 4096)
    os.close(terminal)
    assert done.stdout == b""
    assert b"counting" in shown
