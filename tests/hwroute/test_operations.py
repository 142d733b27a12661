"""The list of operations: every value is written before it is read, and policies show in it."""

from dataclasses import replace

import pytest

from hwroute.checkpoint import matrix_shapes, router_shapes, vector_shapes
from hwroute.errors import InputError
from hwroute.models.library import named_policy, policy_names
from hwroute.operation_list import SUPPORTED, build
from hwroute.operations import Operation, Operator
from hwroute.policy import RoutingPolicy
from hwroute.policy_parts import Decision, Outcome, Overrides, Router, Site
from hwroute.policy_terms import Addend, Decide, KVRule, Scope, Source, Tie
from hwroute.shape import ModelShape

SHAPE = ModelShape(
    dim=64,
    layers=6,
    heads=4,
    kv_heads=2,
    head_dim=16,
    ffn_dim=128,
    vocab=50,
    context=32,
    qkv_bias=True,
)
RUNNABLE = [name for name in policy_names() if named_policy(name).primitives() <= SUPPORTED]
NATIVE, BYPASS = Outcome(addend=Addend.NATIVE), Outcome(addend=Addend.BYPASS)


def operations(policy: str, shape: ModelShape = SHAPE) -> tuple[Operation, ...]:
    return build(shape, named_policy(policy))


def named(policy: str, name: str) -> Operation:
    (found,) = (item for item in operations(policy) if item.name == name)
    return found


def routed(tie: Tie = Tie.EXECUTE, outcomes: tuple[Outcome, ...] = (NATIVE, BYPASS)) -> Site:
    decision = Decision(rule=Decide.ARGMAX, tie=tie)
    return Site(scope=Scope.TOKEN, decision=decision, outcomes=outcomes, router=Router())


def test_the_policies_of_the_machine_are_runnable() -> None:
    expected = {"skipgpt", "skipgpt-dense-kv", "skipgpt-layer-input", "duo-llm-bypass"}
    assert expected | {"latched-layers", "off"} <= set(RUNNABLE)


@pytest.mark.parametrize("policy", RUNNABLE)
def test_values_are_written_once_before_they_are_read(policy: str) -> None:
    written: set[str] = set()
    planes: set[str | None] = {None}
    for index, item in enumerate(operations(policy)):
        assert item.index == index
        assert set(item.inputs) <= written, item.name
        assert item.predicate in planes, item.name
        assert not set(item.outputs) & written, item.name
        written |= set(item.outputs)
        if item.operator is Operator.DECIDE:
            planes.add(item.outputs[0])


@pytest.mark.parametrize("policy", RUNNABLE)
def test_names_are_unique_and_every_tensor_of_the_model_is_read(policy: str) -> None:
    items = operations(policy)
    assert len({item.name for item in items}) == len(items)
    rules = named_policy(policy)
    known = set(matrix_shapes(SHAPE)) | set(vector_shapes(SHAPE)) | set(router_shapes(SHAPE, rules))
    assert {weight for item in items for weight in item.weights} == known


def test_the_operations_of_a_layer_are_those_of_a_decoder_layer() -> None:
    counts: dict[Operator, int] = {}
    for item in operations("skipgpt"):
        if item.layer == 3:
            counts[item.operator] = counts.get(item.operator, 0) + 1
    assert counts == {
        Operator.REDUCE: 2,
        Operator.DECIDE: 2,
        Operator.NORMALISE: 2,
        Operator.MATMUL: 7,
        Operator.ROTATE: 2,
        Operator.KV_WRITE: 1,
        Operator.KV_ORDER: 1,
        Operator.SCORES: 1,
        Operator.ATTEND: 1,
        Operator.SWIGLU: 1,
        Operator.ADD: 2,
    }


@pytest.mark.parametrize(("policy", "dense"), [("skipgpt", False), ("skipgpt-dense-kv", True)])
def test_dense_kv_computes_keys_and_values_for_every_token(policy: str, dense: bool) -> None:
    plane = "layers.2.attention.plane"
    for part in ("normalise", "k", "v", "k.rotate", "kv.write"):
        expected = None if dense else plane
        assert named(policy, f"layers.2.attention.{part}").predicate == expected, part
    for part in ("q", "q.rotate", "kv.order", "scores", "attend", "o", "add"):
        assert named(policy, f"layers.2.attention.{part}").predicate == plane, part


def test_a_layer_forced_to_execute_has_no_plane_and_no_router() -> None:
    names = {item.name for item in operations("skipgpt")}
    assert "layers.0.attention.decide" not in names
    assert named("skipgpt", "layers.0.attention.q").predicate is None
    assert len(named("skipgpt", "layers.0.attention.reduce").outputs) == 1
    assert "layers.0.ffn.decide" in names


def test_routers_of_the_layer_input_read_it_after_attention_changed_the_residual() -> None:
    route = named("skipgpt-layer-input", "layers.2.ffn.route")
    assert route.inputs == ("layers.1.ffn.out",)
    assert route.outputs[1] == "layers.2.ffn.logits"
    normalise = named("skipgpt-layer-input", "layers.2.ffn.normalise")
    assert normalise.inputs == ("layers.2.attention.out", "layers.2.ffn.squares")
    squares = named("skipgpt-layer-input", "layers.2.ffn.reduce")
    assert squares.inputs == ("layers.2.attention.out",)
    # Before attention both points are one: the router shares the pass with the norm.
    assert named("skipgpt-layer-input", "layers.2.attention.reduce").weights
    assert named("skipgpt", "layers.2.ffn.reduce").inputs == ("layers.2.attention.out",)


def test_a_table_decides_without_logits() -> None:
    for layer in range(SHAPE.layers):
        decide = named("latched-layers", f"layers.{layer}.attention.decide")
        assert decide.inputs == ()
        assert decide.decision is not None
        assert decide.decision.forced is (layer not in (2, 4))


@pytest.mark.parametrize(
    ("tie", "outcomes", "execute", "tie_executes"),
    [
        (Tie.EXECUTE, (NATIVE, BYPASS), 0, True),
        (Tie.SKIP, (NATIVE, BYPASS), 0, False),
        (Tie.LOWEST_INDEX, (NATIVE, BYPASS), 0, True),
        (Tie.EXECUTE, (BYPASS, NATIVE), 1, True),
        (Tie.SKIP, (BYPASS, NATIVE), 1, False),
        (Tie.LOWEST_INDEX, (BYPASS, NATIVE), 1, False),
    ],
)
def test_polarity_and_ties_follow_the_outcomes(
    tie: Tie, outcomes: tuple[Outcome, ...], execute: int, tie_executes: bool
) -> None:
    policy = RoutingPolicy(name="x", summary="", ffn=routed(tie, outcomes))
    (decide,) = (i for i in build(SHAPE, policy) if i.name == "layers.1.ffn.decide")
    assert decide.decision is not None
    assert (decide.decision.execute, decide.decision.tie_executes) == (execute, tie_executes)


def test_first_tokens_reach_the_decision() -> None:
    site = replace(routed(), overrides=Overrides(first_tokens=2, first_layers=3))
    items = build(SHAPE, RoutingPolicy(name="x", summary="", ffn=site))
    rules = [item.decision for item in items if item.operator is Operator.DECIDE]
    assert [rule and rule.first_tokens for rule in rules] == [2, 2, 2]


def test_one_list_serves_two_kv_rules_apart_from_their_name() -> None:
    reuse = named_policy("skipgpt")
    assert build(SHAPE, reuse) == build(SHAPE, replace(reuse, kv=KVRule.EVICT))


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ("d-llm", r"policy 'd-llm' needs .*layer site, .*which the golden model does not run"),
        ("dr-llm", "sequence scope"),
        ("mixture-of-depths", "top-k-tokens decision"),
        ("informed-routing", "bottleneck addend"),
        ("duo-llm", "weight-set addend"),
    ],
)
def test_a_missing_primitive_is_named(policy: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        operations(policy)


@pytest.mark.parametrize(
    ("outcomes", "listed"),
    [
        ((NATIVE,), "native"),
        ((BYPASS, BYPASS), "bypass, bypass"),
        ((NATIVE, NATIVE), "native, native"),
        ((BYPASS, NATIVE, BYPASS), "bypass, native, bypass"),
    ],
)
def test_other_outcomes_than_execute_and_bypass_are_refused(
    outcomes: tuple[Outcome, ...], listed: str
) -> None:
    """The decision compares two logits; a third one would be left out of it."""
    policy = RoutingPolicy(name="mine", summary="", ffn=routed(outcomes=outcomes))
    message = rf"policy 'mine': ffn\.outcomes must be one native and one bypass .* not {listed}$"
    with pytest.raises(InputError, match=message):
        build(SHAPE, policy)


def test_a_table_that_names_a_layer_beyond_the_last_is_refused() -> None:
    with pytest.raises(InputError, match=r"attention\.decision\.layers must be from 0 to 2"):
        operations("latched-layers", replace(SHAPE, layers=3))


def test_sources_of_routers_are_those_of_the_policy() -> None:
    site = routed()
    assert site.router is not None
    early = replace(site, router=replace(site.router, source=Source.LAYER_INPUT))
    for ffn, source in ((site, "layers.1.attention.out"), (early, "layers.0.ffn.out")):
        items = build(SHAPE, RoutingPolicy(name="x", summary="", ffn=ffn))
        (reader,) = (i for i in items if "layers.1.ffn.logits" in i.outputs)
        assert reader.inputs == (source,)
