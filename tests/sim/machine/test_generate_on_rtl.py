"""``hwroute generate --on rtl``: text of the machine itself, held to the interpreter."""

import json
from typing import Any

import pytest
from click.testing import CliRunner

from hwroute import api
from hwroute.cli import main
from hwroute.errors import CheckFailedError
from hwroute.sim.machine import check


def run(*words: str) -> Any:
    return CliRunner().invoke(main, ["generate", "-p", "First Cit", "-n", "2", *words])


@pytest.mark.cpp
@pytest.mark.parametrize("rule", ["reuse", "dense", "evict"])
def test_the_machine_generates_what_the_interpreter_does(rule: str) -> None:
    result = run("--on", "rtl", "--kv", rule, "--json")
    assert result.exit_code == 0, result.output
    ours, golden = json.loads(result.stdout), json.loads(run("--kv", rule, "--json").stdout)
    for field in ("token_ids", "text", "skip", "overflowed"):
        assert ours[field] == golden[field]
    assert golden["machine"] is None
    machine = ours["machine"]
    assert machine["match"]
    counters = machine["counters"]
    units = ("dma", "array", "npe", "router", "kv")
    assert machine["instructions"] == sum(counters[f"{unit}_instructions"] for unit in units)
    assert machine["events"] > 2 * machine["instructions"]
    executed = counters["ffn_tokens_executed"], counters["ffn_tokens_skipped"]
    assert executed[1] / sum(executed) == pytest.approx(golden["skip"]["ffn"], abs=0.2)


@pytest.mark.cpp
def test_a_difference_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter is made to see another embedding than the machine."""
    right = check.run_machine

    def with_another_token(*given: Any, **settings: Any) -> Any:
        program, image, prompt, *more = given
        return right(program, image, [prompt[0] ^ 1, *prompt[1:]], *more, **settings)

    monkeypatch.setattr(check, "run_machine", with_another_token)
    monkeypatch.setattr(check, "WINDOW", 1)
    real = check.check_machine
    monkeypatch.setattr(check, "check_machine", lambda *a, **k: real(*a, **k, waves=False))
    with pytest.raises(CheckFailedError, match=r"RTL differs .*unit dma.*embed.*interpreter 0x"):
        api.generate(api.load("tiny"), "Fi", 1, on="rtl")


def test_a_trace_is_asked_from_the_golden_model() -> None:
    result = run("--on", "rtl", "--trace", "t")
    assert result.exit_code != 0
    assert "a trace must be asked from the golden model, not rtl" in result.output
