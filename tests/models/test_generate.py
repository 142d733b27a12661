"""Greedy generation on the golden model: its prompts, its trace, its policies."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hwroute.compare import compare
from hwroute.config import PRESETS, Numerics, Rounding
from hwroute.errors import InputError
from hwroute.models.generate import (
    GoldenWindows,
    Tracer,
    adjusted_policy,
    generate,
)
from hwroute.models.golden import Golden
from hwroute.models.library import named_policy
from hwroute.models.ops.kv import KVMemory
from hwroute.models.prompt import check_prompt
from hwroute.models.random_weights import RandomCheckpoint
from hwroute.models.reference import Reference
from hwroute.models.sequence import Sequence
from hwroute.operations import Operator
from hwroute.policy_terms import KVRule
from hwroute.shape import ModelShape
from hwroute.trace import Trace

SHAPE = ModelShape(
    dim=128, layers=3, heads=2, kv_heads=1, head_dim=64, ffn_dim=128, vocab=60, context=32
)
DEMO = PRESETS["demo"]
PROMPT = [5, 9, 59, 0, 33, 33, 8]


def model(policy: str = "skipgpt", seed: int = 4) -> RandomCheckpoint:
    return RandomCheckpoint(SHAPE, named_policy(policy), seed=seed)


@pytest.fixture(scope="module")
def golden() -> Golden:
    return Golden(model(), DEMO)


def traced(
    checkpoint: Any = None, config: Any = DEMO, policy: Any = None, memory: bool = False
) -> Trace:
    checkpoint = checkpoint or model()
    tracer = Tracer(checkpoint, config)
    golden = Golden(checkpoint, config, policy=policy, observer=tracer)
    generate(golden, PROMPT, 3, memory=KVMemory(config.kv) if memory else None)
    return tracer.trace


def test_each_token_is_the_likeliest_after_all_before_it(golden: Golden) -> None:
    result = generate(golden, PROMPT, 6)
    assert (result.prompt_ids, len(result.token_ids)) == (PROMPT, 6)
    fed = PROMPT + result.token_ids
    tile = golden.forward(np.array(fed[:-1]), Sequence(SHAPE))
    best = np.argmax(tile.values["logits"], axis=1)[len(PROMPT) - 1 :]
    assert result.token_ids == best.tolist()
    # The last token is never fed back.
    assert result.executed.shape == (3, 2, len(fed) - 1)
    assert result.executed[0, 0].all()
    assert not result.executed.all()


def test_generation_agrees_with_the_float_reference(golden: Golden) -> None:
    """On weights whose likeliest tokens stand clear of the others."""
    assert generate(golden, PROMPT, 8).token_ids == Reference(model(), weights="int4").generate(
        PROMPT, 8
    )


def test_progress_is_told_of_every_token(golden: Golden) -> None:
    steps: list[int] = []
    generate(golden, PROMPT, 3, progress=steps.append)
    assert steps == [1, 1, 1]


def test_a_prompt_may_fill_the_context(golden: Golden) -> None:
    assert len(generate(golden, [1] * 30, 2).token_ids) == 2
    assert len(generate(golden, [1], 1).token_ids) == 1


@pytest.mark.parametrize(
    ("prompt", "count", "message"),
    [
        ([], 1, "the prompt must have at least one token, not none"),
        ([1, 2], 0, "tokens to generate must be at least 1, not 0"),
        ([1, 60], 1, r"token 1 of the prompt must be from 0 to 59 \(the model's vocabulary\)"),
        ([-1], 1, "token 0 of the prompt must be from 0 to 59 .* not -1"),
        ([1] * 32, 1, r"must fit the model's context of 32, not 32 \+ 1"),
        ([1], 32, r"must fit the model's context of 32, not 1 \+ 32"),
    ],
)
def test_a_bad_prompt_is_refused(golden: Golden, prompt: Any, count: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_prompt(SHAPE, prompt, count)
    with pytest.raises(InputError, match=message):
        generate(golden, prompt, count)
    with pytest.raises(InputError, match=message):
        Reference(model()).generate(prompt, count)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"max_layers": 2},
            r"kv\.max_layers must be at least 3 \(the layers of the model\), not 2",
        ),
        (
            {"max_tokens": 64},
            r"kv\.max_tokens must be at least 70 \(prompt and generated .* not 64",
        ),
    ],
)
def test_a_memory_that_is_too_small_is_refused(changes: dict[str, int], message: str) -> None:
    shape = replace(SHAPE, context=128)
    golden = Golden(RandomCheckpoint(shape, named_policy("skipgpt"), seed=4), DEMO)
    with pytest.raises(InputError, match=message):
        generate(golden, [1] * 60, 10, memory=KVMemory(replace(DEMO.kv, **changes)))


def test_a_trace_has_one_record_for_each_operation_that_ran() -> None:
    checkpoint = model("off")
    tracer = Tracer(checkpoint, DEMO)
    golden = Golden(checkpoint, DEMO, observer=tracer)
    generate(golden, PROMPT, 3)
    records = tracer.trace.records
    assert [record.id for record in records] == list(range(3 * len(golden.operations)))
    names = [operation.name for operation in golden.operations]
    assert [record.operation for record in records] == names * 3
    assert {record.operator for record in records} == {operator.value for operator in Operator} - {
        "decide"
    }
    assert [record.position for record in records[:: len(names)]] == [0, 7, 8]
    head = records[names.index("head")]
    assert head.outputs["logits"].shape == (7, 60)
    assert head.rows.tolist() == list(range(7))


def test_records_of_skipping_tokens_hold_the_rows_that_ran() -> None:
    trace = traced()
    planes = {
        (record.operation.removesuffix(".decide"), record.position): record.outputs["plane"]
        for record in trace.records
        if record.operator == "decide"
    }
    assert len(planes) == 3 * 5
    checked = 0
    for record in trace.records:
        sublayer = ".".join(record.operation.split(".")[:3])
        plane = planes.get((sublayer, record.position))
        if plane is None or record.operator in ("reduce", "decide"):
            continue
        # An operation that no token executes leaves no record.
        assert len(record.rows)
        np.testing.assert_array_equal(record.rows, np.flatnonzero(plane))
        checked += 1
    assert checked > 50


def test_a_trace_survives_the_trip_through_a_file(tmp_path: Any) -> None:
    trace = traced(memory=True)
    trace.save(tmp_path / "run.trace")
    result = compare(trace, Trace.load(tmp_path / "run.trace"))
    assert (result.match, result.records) == (True, len(trace.records))


def test_two_runs_give_equal_traces_and_programs() -> None:
    assert compare(traced(memory=True), traced(memory=True)).match


def test_traces_of_other_weights_numerics_or_policies_are_of_other_programs() -> None:
    policy = named_policy("skipgpt")
    toward_zero = replace(DEMO, numerics=Numerics(rounding=Rounding.TOWARD_ZERO))
    others = [
        traced(model(seed=5)),
        traced(config=toward_zero),
        traced(policy=replace(policy, kv=KVRule.DENSE)),
        traced(policy=replace(policy, kv=KVRule.EVICT)),
        traced(policy=named_policy("off")),
    ]
    programs = {traced().program, *(trace.program for trace in others)}
    assert len(programs) == 6
    with pytest.raises(InputError, match="must be of the same program"):
        compare(traced(), others[0])


def test_the_array_is_no_part_of_the_program() -> None:
    wide = replace(DEMO, name="wide", array=PRESETS["u280"].array)
    assert compare(traced(), traced(config=wide)).match


def test_one_changed_weight_is_found_where_it_first_matters() -> None:
    """Traces made to look alike: the comparison names the operation that read the weight."""

    class Changed(RandomCheckpoint):
        def fp16(self, name: str) -> Any:
            bits = super().fp16(name)
            if name == "model.layers.1.post_attention_layernorm.weight":
                bits[3] ^= 1 << 6
            return bits

    ours = traced()
    theirs = traced(Changed(SHAPE, named_policy("skipgpt"), seed=4))
    first = compare(ours, replace(theirs, program=ours.program)).first
    assert first is not None
    assert first.operation == "layers.1.ffn.normalise"
    assert (first.output, first.index[1]) == ("normed", 3)


def test_windows_start_fresh_and_give_their_decisions(golden: Golden) -> None:
    windows = GoldenWindows(golden)
    ids = np.random.default_rng(1).integers(0, 60, (3, 10))
    logits = windows.forward(ids)
    assert (logits.shape, windows.decisions.shape) == ((3, 10, 60), (3, 2, 3, 10))
    alone = windows.forward(ids[1:2])
    np.testing.assert_array_equal(alone[0], logits[1])
    reference = Reference(model(), weights="int4")
    reference.forward(ids)
    windows.forward(ids)
    assert (windows.decisions == reference.decisions).mean() > 0.99


def test_routing_off_executes_everything_whatever_the_policy() -> None:
    for name in ("skipgpt", "dr-llm", "d-llm", "latched-layers"):
        policy = adjusted_policy(model(name), routing=False, kv=None)
        assert list(policy.sites()) == []
        assert policy.kv is KVRule.DENSE
    golden = Golden(model(), DEMO, policy=adjusted_policy(model(), routing=False, kv=None))
    assert generate(golden, PROMPT, 2).executed.all()


def test_the_kv_rule_replaces_the_policys() -> None:
    policy = adjusted_policy(model(), routing=True, kv=KVRule.DENSE)
    assert policy == replace(named_policy("skipgpt"), kv=KVRule.DENSE)
    assert adjusted_policy(model(), routing=True, kv=None) == named_policy("skipgpt")


def test_a_kv_rule_that_does_not_fit_is_refused() -> None:
    message = "policy 'skipgpt-layer-input': kv must not be 'reuse' unless"
    with pytest.raises(InputError, match=message):
        adjusted_policy(model("skipgpt-layer-input"), routing=True, kv=KVRule.REUSE)
