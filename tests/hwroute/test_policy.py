"""Policies are data: strict files, exact round trips, and refusals that name what is missing."""

from dataclasses import fields, replace
from pathlib import Path

import pytest

from hwroute.errors import InputError
from hwroute.models.library import named_policy, policy_names
from hwroute.models.policy_docs import with_table
from hwroute.policy import RoutingPolicy, describe
from hwroute.policy_file import from_toml, to_toml
from hwroute.policy_parts import Decision, Groups, Outcome, Overrides, Router, Site
from hwroute.policy_table import markdown_table
from hwroute.policy_terms import (
    Activation,
    Addend,
    Decide,
    Feature,
    KVRule,
    Over,
    Pooling,
    RepeatKV,
    Scope,
    Source,
)

METHODS = [
    "adamoe",
    "d-llm",
    "d2moe",
    "dit-routing",
    "dr-llm",
    "duo-llm",
    "duo-llm-bypass",
    "first",
    "flexidepth",
    "ftp",
    "informed-routing",
    "latched-layers",
    "layerskip",
    "lora-drop",
    "mindskip",
    "mixture-of-depths",
    "off",
    "shrp",
    "skipgpt",
    "skipgpt-dense-kv",
    "skipgpt-layer-input",
    "top-p-moe",
    "wide",
]
EXECUTE, BYPASS = Outcome(addend=Addend.NATIVE), Outcome(addend=Addend.BYPASS)
ARGMAX = Decision(rule=Decide.ARGMAX)


def site(**changes: object) -> Site:
    values = {"scope": Scope.TOKEN, "decision": ARGMAX, "outcomes": (EXECUTE, BYPASS)}
    return Site(**({"router": Router()} | values | changes))


def test_every_method_has_a_file() -> None:
    assert policy_names() == sorted(METHODS)


@pytest.mark.parametrize("name", METHODS)
def test_file_round_trip_and_name(name: str) -> None:
    policy = named_policy(name)
    assert policy.name == name
    assert policy.summary.endswith(".")
    assert from_toml(to_toml(policy), "again") == policy


def test_every_field_survives_a_round_trip() -> None:
    everything = RoutingPolicy(
        name="all",
        summary="All.",
        paper="0",
        kv=KVRule.EVICT,
        repeat_kv=RepeatKV.APPEND,
        attention=site(
            router=Router(
                source=Source.SCALARS,
                features=(Feature.POSITION, Feature.SCORE_RANK),
                pooling=Pooling.WINDOW_MEAN,
                windows=8,
                linears=2,
                bias=True,
                rmsnorm=True,
                activation=Activation.GELU_TANH,
            ),
            overrides=Overrides(
                first_layers=1, first_tokens=2, padding_mask=True, logit_bias=(0.5, -1.0, 0.0)
            ),
            outcomes=(EXECUTE, replace(EXECUTE, repeat=2), BYPASS),
            groups=Groups(over=Over.HEADS, count=4),
        ),
        ffn=site(
            scope=Scope.TABLE, router=None, decision=Decision(rule=Decide.TABLE, layers=(1, 3))
        ),
    )
    assert from_toml(to_toml(everything), "again") == everything
    text = to_toml(everything)
    for part in (Router, Overrides):
        assert all(f"{item.name} = " in text for item in fields(part))


def test_unknown_name_gives_the_nearest() -> None:
    with pytest.raises(InputError, match=r"not 'skipgtp'; did you mean 'skipgpt'\?"):
        named_policy("skipgtp")


def test_combinations_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="layer must be absent where attention or ffn is given"):
        RoutingPolicy(name="x", summary="", layer=site(), ffn=site())
    with pytest.raises(ValueError, match="repeat_kv must be given, not None"):
        RoutingPolicy(name="x", summary="", layer=site(outcomes=(replace(EXECUTE, repeat=2),)))
    with pytest.raises(ValueError, match="repeat_kv must be absent unless an outcome repeats"):
        RoutingPolicy(name="x", summary="", repeat_kv=RepeatKV.APPEND)
    with pytest.raises(ValueError, match="repeat must be 1 or 2, not 0"):
        replace(EXECUTE, repeat=0)
    with pytest.raises(ValueError, match="linears must be 2 where rmsnorm or activation is given"):
        Router(activation=Activation.RELU)
    with pytest.raises(ValueError, match="windows must be positive exactly with window-mean"):
        Router(pooling=Pooling.WINDOW_MEAN)
    with pytest.raises(ValueError, match="features must be given exactly with source scalars"):
        Router(source=Source.SCALARS)
    with pytest.raises(ValueError, match="outcomes must have at least one entry"):
        site(outcomes=())
    with pytest.raises(ValueError, match=r"overrides\.logit_bias must have 2 entries, not 1"):
        site(overrides=Overrides(logit_bias=(1.0,)))


def test_a_table_is_the_same_for_every_token() -> None:
    table = Decision(rule=Decide.TABLE, layers=(0,))
    for scope in (Scope.TOKEN, Scope.SEQUENCE, Scope.EXPERTS):
        with pytest.raises(
            ValueError,
            match=r"scope must be table, step-table or group where decision\.rule is 'table', "
            f"not '{scope.value}'",
        ):
            site(router=None, decision=table, scope=scope)
    for scope in (Scope.TABLE, Scope.STEP):
        assert site(router=None, decision=table, scope=scope).router is None
        with pytest.raises(ValueError, match=r"decision\.rule must be 'table' .* not 'argmax'"):
            site(scope=scope)
    with pytest.raises(ValueError, match=r"overrides must be absent where decision\.rule is"):
        site(router=None, decision=table, scope=Scope.TABLE, overrides=Overrides(first_layers=1))
    skips_0 = site(router=None, decision=table, scope=Scope.TABLE)
    with pytest.raises(ValueError, match="kv must not be 'reuse'"):
        RoutingPolicy(name="x", summary="", kv=KVRule.REUSE, layer=skips_0)
    # The last outcome is that of the listed layers, whichever it is.
    executes_0 = replace(skips_0, outcomes=(BYPASS, EXECUTE))
    RoutingPolicy(name="x", summary="", kv=KVRule.REUSE, layer=executes_0)


def test_a_table_beyond_the_model_is_refused() -> None:
    policy = named_policy("latched-layers")
    policy.check_layers(5)
    with pytest.raises(InputError, match=r"attention\.decision\.layers must be from 0 to 3 .* 4"):
        policy.check_layers(4)


def test_primitives_of_skipgpt() -> None:
    assert named_policy("skipgpt").primitives() == {
        "site:attention",
        "site:ffn",
        "scope:token",
        "source:sub-layer-input",
        "pooling:none",
        "body:1-linear",
        "activation:none",
        "decision:argmax",
        "tie:execute",
        "override:first-layers",
        "base:residual",
        "addend:native",
        "addend:bypass",
        "gate:one",
        "repeat:0",
        "repeat:1",
        "kv:reuse",
    }


def test_what_an_executor_lacks_is_named() -> None:
    supported = named_policy("skipgpt").primitives() | {"kv:dense"}
    named_policy("skipgpt-dense-kv").require(supported, "the golden model")
    with pytest.raises(
        InputError,
        match=r"^policy 'informed-routing' needs relu activation, silu activation, bottleneck "
        r"addend, 2-linear router body, sub-layer-normed router source, which the golden model "
        r"does not run$",
    ):
        named_policy("informed-routing").require(supported, "the golden model")


def test_bottleneck_activation_is_a_primitive_of_its_own() -> None:
    assert "activation:silu" in named_policy("informed-routing").primitives()
    assert describe("kv:defer") == "defer KV rule"


def test_documented_table_agrees_with_the_code(root: Path) -> None:
    text = (root / "docs" / "routing.md").read_text(encoding="utf-8")
    assert text == with_table(text), "run python -m hwroute.models.policy_docs docs/routing.md"
    with pytest.raises(ValueError, match="text must have the line '<!-- table"):
        with_table("# Another page")


def test_table_says_runs_or_names_what_is_missing() -> None:
    table = markdown_table(
        [named_policy("off"), named_policy("duo-llm-bypass")], {"one": frozenset({"kv:dense"})}
    )
    off, duo = table.splitlines()[2:]
    assert off == "| `off` |  |  |  | dense | runs |"
    assert duo.startswith(
        "| `duo-llm-bypass` | [2410.10846](https://arxiv.org/abs/2410.10846) | ffn, token | "
        "argmax of a 1-linear router on sub-layer-input | dense | none activation, bypass addend,"
    )
