"""Every primitive that the float reference claims, alone."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hwroute.models.library import named_policy, policy_names
from hwroute.models.random_weights import RandomCheckpoint
from hwroute.models.reference import ATTENTION, FFN, Reference
from hwroute.models.routing import REFERENCE_PRIMITIVES, decide, forced, router_logits
from hwroute.operation_list import build
from hwroute.policy import RoutingPolicy
from hwroute.policy_parts import Decision, Outcome, Overrides, Router, Site
from hwroute.policy_terms import Activation, Addend, Decide, KVRule, Scope, Source, Tie
from hwroute.shape import ModelShape

Array = NDArray[Any]
EXECUTE, BYPASS = Outcome(addend=Addend.NATIVE), Outcome(addend=Addend.BYPASS)
SHAPE = ModelShape(
    dim=16, layers=6, heads=2, kv_heads=1, head_dim=8, ffn_dim=24, vocab=13, context=10
)
IDS = [2, 7, 1, 8, 2, 8]


class Widened:
    """Random weights; a router's open width is `hidden`."""

    def __init__(self, policy: RoutingPolicy, hidden: int = 5) -> None:
        self.inner = RandomCheckpoint(SHAPE, policy, seed=4, group=8)
        self.hidden = hidden

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def tensor(self, name: str) -> Array:
        tensor = self.inner.tensor(name)
        if "_router" not in name:
            return tensor
        size = [self.hidden if width == 0 else width for width in tensor.shape]
        return np.random.default_rng([len(name), ord(name[13])]).standard_normal(size)


def site(outcomes: tuple[Outcome, ...], decision: Decision, **overrides: Any) -> Site:
    return Site(
        scope=Scope.TOKEN,
        router=Router(),
        decision=decision,
        outcomes=outcomes,
        overrides=Overrides(**overrides),
    )


LOGITS = np.array([[1.0, 0.0], [0.0, 1.0], [2.0, 2.0]])


@pytest.mark.parametrize(
    ("outcomes", "tie", "expected"),
    [
        ((EXECUTE, BYPASS), Tie.EXECUTE, [True, False, True]),
        ((EXECUTE, BYPASS), Tie.SKIP, [True, False, False]),
        ((EXECUTE, BYPASS), Tie.LOWEST_INDEX, [True, False, True]),
        ((BYPASS, EXECUTE), Tie.EXECUTE, [False, True, True]),
        ((BYPASS, EXECUTE), Tie.SKIP, [False, True, False]),
        ((BYPASS, EXECUTE), Tie.LOWEST_INDEX, [False, True, False]),
        ((EXECUTE, EXECUTE), Tie.SKIP, [True, True, True]),
        ((BYPASS, BYPASS), Tie.EXECUTE, [False, False, False]),
    ],
)
def test_argmax_polarity_and_ties(
    outcomes: tuple[Outcome, ...], tie: Tie, expected: list[bool]
) -> None:
    rule = site(outcomes, Decision(rule=Decide.ARGMAX, tie=tie))
    assert decide(rule, LOGITS).tolist() == expected


def test_argmax_over_three_outcomes() -> None:
    rule = site((BYPASS, EXECUTE, EXECUTE), Decision(rule=Decide.ARGMAX))
    logits = np.array([[2.0, 0.0, 1.0], [1.0, 0.0, 2.0], [1.0, 1.0, 0.0]])
    assert decide(rule, logits).tolist() == [False, True, True]


@pytest.mark.parametrize(("outcomes", "sign"), [((EXECUTE, BYPASS), 1), ((BYPASS, EXECUTE), -1)])
def test_threshold_is_exceeded_strictly(outcomes: tuple[Outcome, ...], sign: int) -> None:
    rule = site(outcomes, Decision(rule=Decide.THRESHOLD, threshold=0.5))
    found = decide(rule, np.array([[1e-3], [0.0], [-1e-3]]))
    assert found.tolist() == ([True, False, False] if sign > 0 else [False, True, True])


def test_logit_bias_moves_the_decision() -> None:
    rule = site((EXECUTE, BYPASS), Decision(rule=Decide.ARGMAX), logit_bias=(0.0, 1.5))
    assert decide(rule, LOGITS).tolist() == [False, False, False]


def test_first_layers_and_first_tokens_are_forced() -> None:
    rule = site((EXECUTE, BYPASS), Decision(rule=Decide.ARGMAX), first_layers=2, first_tokens=3)
    positions = np.arange(1, 5)
    assert forced(rule, 1, positions).tolist() == [True] * 4
    assert forced(rule, 2, positions).tolist() == [True, True, False, False]


@pytest.mark.parametrize("activation", list(Activation))
@pytest.mark.parametrize("rmsnorm", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_two_linear_router(activation: Activation, rmsnorm: bool, bias: bool) -> None:
    rng = np.random.default_rng(6)
    tensors = {"0.weight": rng.standard_normal((5, 8)), "1.weight": rng.standard_normal((2, 5))}
    tensors |= {"norm.weight": rng.standard_normal(5)} if rmsnorm else {}
    biases = {"0.bias": rng.standard_normal(5), "1.bias": rng.standard_normal(2)}
    x, eps = rng.standard_normal(8), 1e-2
    hidden = [
        float(row @ x + (biases["0.bias"][i] if bias else 0))
        for i, row in enumerate(tensors["0.weight"])
    ]
    if rmsnorm:
        scale = math.sqrt(sum(e * e for e in hidden) / 5 + eps)
        hidden = [e / scale * g for e, g in zip(hidden, tensors["norm.weight"], strict=True)]
    functions = {
        Activation.NONE: lambda e: e,
        Activation.RELU: lambda e: max(e, 0.0),
        Activation.SILU: lambda e: e / (1 + math.exp(-e)),
        Activation.GELU_TANH: lambda e: (
            0.5 * e * (1 + math.tanh(math.sqrt(2 / math.pi) * (e + 0.044715 * e**3)))
        ),
    }
    expected = tensors["1.weight"] @ [functions[activation](e) for e in hidden]
    expected = expected + (biases["1.bias"] if bias else 0)
    router = Router(linears=2, activation=activation, rmsnorm=rmsnorm, bias=bias)
    found = router_logits(x, router, tensors | (biases if bias else {}), eps)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("source", [s for s in Source if s is not Source.SCALARS])
def test_router_sources(source: Source) -> None:
    policy = named_policy("skipgpt-layer-input")
    sites = {name: replace(routed, router=Router(source=source)) for name, routed in policy.sites()}
    policy = replace(policy, **sites)
    reference = Reference(Widened(policy), dtype=np.float64)
    reference.forward(IDS)
    x = reference.weights.embedding[IDS]
    weights = reference.weights.layers[0]
    root = np.sqrt((x * x).mean(-1, keepdims=True) + SHAPE.norm_eps)
    inputs = x / root * weights.attention_norm if source is Source.SUBLAYER_NORMED else x
    logits = inputs @ weights.routers["attention"]["weight"].T
    np.testing.assert_allclose(reference.router_logits[0, "attention"][0], logits)
    ffn = reference.router_logits[0, "ffn"][0]
    at_layer_input = x @ weights.routers["ffn"]["weight"].T
    assert np.allclose(ffn, at_layer_input) == (source is Source.LAYER_INPUT)


def test_a_table_skips_for_every_token() -> None:
    reference = Reference(Widened(named_policy("latched-layers")))
    reference.forward(IDS)
    assert reference.decisions[:, ATTENTION].all(axis=1).tolist() == [1, 1, 0, 1, 0, 1]
    assert reference.decisions[:, FFN].all(axis=1).tolist() == [1, 1, 1, 0, 1, 1]
    assert not reference.decisions[[2, 4], ATTENTION].any()


def test_a_table_reads_the_same_on_reference_and_golden() -> None:
    policy = named_policy("latched-layers")
    assert policy.attention is not None
    turned = replace(policy.attention, outcomes=policy.attention.outcomes[::-1])
    for attention in (policy.attention, turned):
        # Bypassing layer 0 leaves nothing to reuse.
        mine = replace(policy, attention=attention, kv=KVRule.EVICT)
        reference = Reference(Widened(mine))
        reference.forward(IDS)
        executes = reference.decisions[:, ATTENTION].all(axis=1)
        for layer in range(len(executes)):
            name = f"layers.{layer}.attention.decide"
            (decide,) = (i for i in build(reference.shape, mine) if i.name == name)
            assert decide.decision is not None
            assert decide.decision.forced == executes[layer]
        assert executes.tolist() == [
            (layer in (2, 4)) == (attention is turned) for layer in range(6)
        ]


def test_a_whole_layer_has_one_decision_and_its_overrides() -> None:
    reference = Reference(Widened(named_policy("d-llm")))
    reference.forward(IDS)
    decisions = reference.decisions
    np.testing.assert_array_equal(decisions[:, ATTENTION], decisions[:, FFN])
    assert decisions[:2].all()
    assert decisions[..., :2].all()
    assert not decisions[2:, :, 2:].all()


def test_every_policy_that_the_primitives_allow_runs() -> None:
    ran = []
    for name in policy_names():
        policy = named_policy(name)
        if policy.primitives() <= REFERENCE_PRIMITIVES:
            logits = Reference(Widened(policy)).forward(IDS)
            assert np.isfinite(logits).all()
            ran.append(name)
    assert {"d-llm", "dit-routing", "duo-llm-bypass", "latched-layers", "skipgpt"} <= set(ran)
    assert policy_names() != ran


def test_the_kv_rule_can_be_replaced() -> None:
    checkpoint = Widened(named_policy("skipgpt"))
    assert Reference(checkpoint, kv=KVRule.EVICT).policy.kv is KVRule.EVICT
    assert Reference(checkpoint).policy.kv is KVRule.REUSE
