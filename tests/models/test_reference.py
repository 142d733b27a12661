"""The float reference with routing agrees with a naive loop, token by token."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hwroute.checkpoint import layer_prefix
from hwroute.errors import InputError
from hwroute.models.folder import ModelFolder
from hwroute.models.library import named_policy
from hwroute.models.random_weights import RandomCheckpoint
from hwroute.models.reference import ATTENTION, FFN, Reference
from hwroute.policy_terms import KVRule
from hwroute.shape import ModelShape

Array = NDArray[Any]
SHAPE = ModelShape(
    dim=16,
    layers=3,
    heads=4,
    kv_heads=2,
    head_dim=6,
    ffn_dim=20,
    vocab=11,
    context=12,
    rope_theta=50.0,
)
IDS = [3, 1, 4, 1, 5]


def model(policy: str = "skipgpt", shape: ModelShape = SHAPE, seed: int = 3) -> RandomCheckpoint:
    return RandomCheckpoint(shape, named_policy(policy), seed=seed, group=2)


class Naive:
    """A routed model run token by token and head by head, in float64.

    `memory` holds, by layer and token, the keys and values that a query of that layer reads;
    `decisions` is bool [layers, 2, tokens].
    """

    def __init__(self, checkpoint: RandomCheckpoint, kv: KVRule, tokens: int) -> None:
        self.checkpoint, self.shape, self.kv = checkpoint, checkpoint.shape, kv
        self.memory: list[dict[int, tuple[Array, Array]]] = [{} for _ in range(self.shape.layers)]
        self.decisions = np.ones((self.shape.layers, 2, tokens), bool)

    def weight(self, name: str) -> Array:
        return self.checkpoint.tensor(name).astype(np.float64)

    def norm(self, x: Array, name: str) -> Array:
        mean_square = sum(float(e) ** 2 for e in x) / len(x)
        return x / math.sqrt(mean_square + self.shape.norm_eps) * self.weight(name)

    def turn(self, head: Array, position: int) -> Array:
        out, half = head.copy(), len(head) // 2
        for i in range(half):
            angle = position * self.shape.rope_theta ** (-i / half)
            low, high = head[i], head[i + half]
            out[i] = low * math.cos(angle) - high * math.sin(angle)
            out[i + half] = high * math.cos(angle) + low * math.sin(angle)
        return out

    def executes(self, router: str, x: Array) -> bool:
        execute, skip = self.weight(router) @ x
        return bool(execute >= skip)

    def remember(self, layer: int, position: int, n: Array, executes: bool) -> None:
        p = layer_prefix(layer)
        if executes or self.kv is KVRule.DENSE:
            keys, values = (
                (self.weight(f"{p}self_attn.{kind}_proj.weight") @ n).reshape(
                    self.shape.kv_heads, self.shape.head_dim
                )
                for kind in "kv"
            )
            turned = np.array([self.turn(key, position) for key in keys])
            self.memory[layer][position] = (turned, values)
        elif self.kv is KVRule.REUSE:
            self.memory[layer][position] = self.memory[layer - 1][position]

    def attend(self, layer: int, position: int, n: Array) -> Array:
        p, d = layer_prefix(layer), self.shape.head_dim
        queries = (self.weight(p + "self_attn.q_proj.weight") @ n).reshape(-1, d)
        mixed = []
        for h, query in enumerate(queries):
            shared, q = h // self.shape.queries_per_kv, self.turn(query, position)
            seen = self.memory[layer].values()
            scores = [math.exp(float(q @ k[shared]) / math.sqrt(d)) for k, _ in seen]
            parts = [s * v[shared] for s, (_, v) in zip(scores, seen, strict=True)]
            mixed.append(np.sum(parts, axis=0) / sum(scores))
        return self.weight(p + "self_attn.o_proj.weight") @ np.concatenate(mixed)

    def ffn(self, layer: int, n: Array) -> Array:
        p = layer_prefix(layer)
        gate = self.weight(p + "mlp.gate_proj.weight") @ n
        up = self.weight(p + "mlp.up_proj.weight") @ n
        return self.weight(p + "mlp.down_proj.weight") @ (gate / (1 + np.exp(-gate)) * up)

    def step(self, token: int, position: int) -> Array:
        """Return the logits [vocab] after one token."""
        x = self.weight("model.embed_tokens.weight")[token]
        for layer in range(self.shape.layers):
            p, decisions = layer_prefix(layer), self.decisions[layer, :, position]
            decisions[ATTENTION] = layer == 0 or self.executes(p + "attn_router.weight", x)
            n = self.norm(x, p + "input_layernorm.weight")
            self.remember(layer, position, n, bool(decisions[ATTENTION]))
            if decisions[ATTENTION]:
                x = x + self.attend(layer, position, n)
            decisions[FFN] = self.executes(p + "ffn_router.weight", x)
            if decisions[FFN]:
                x = x + self.ffn(layer, self.norm(x, p + "post_attention_layernorm.weight"))
        return self.weight("lm_head.weight") @ self.norm(x, "model.norm.weight")


@pytest.mark.parametrize("kv", [KVRule.REUSE, KVRule.DENSE, KVRule.EVICT])
@pytest.mark.parametrize("seed", [3, 8])
def test_routing_and_kv_rules_equal_a_naive_loop(kv: KVRule, seed: int) -> None:
    checkpoint = model(seed=seed)
    naive = Naive(checkpoint, kv, len(IDS))
    expected = [naive.step(token, position) for position, token in enumerate(IDS)]
    reference = Reference(checkpoint, kv=kv, dtype=np.float64)
    np.testing.assert_allclose(reference.forward(IDS), expected, rtol=1e-10, atol=1e-10)
    np.testing.assert_array_equal(reference.decisions, naive.decisions)
    skipped = ~naive.decisions[:, ATTENTION]
    assert skipped.any()
    assert not skipped[1:].all()


def test_the_three_kv_rules_differ_where_a_later_token_reads_a_skipped_one() -> None:
    force = np.ones((3, 2, 5), bool)
    force[1:, ATTENTION, 1] = False
    logits = {
        kv: Reference(model(), kv=kv, dtype=np.float64).forward(IDS, force=force)
        for kv in (KVRule.REUSE, KVRule.DENSE, KVRule.EVICT)
    }
    for kv, other in zip(logits, [KVRule.DENSE, KVRule.EVICT, KVRule.REUSE], strict=True):
        np.testing.assert_allclose(logits[kv][:2], logits[other][:2], rtol=1e-12)
        assert np.abs(logits[kv][2:] - logits[other][2:]).max(axis=-1).min() > 1e-3


@pytest.mark.parametrize("kv", [KVRule.REUSE, KVRule.DENSE, KVRule.EVICT])
@pytest.mark.parametrize("cuts", [(1, 2, 3, 4), (3,), (2, 4)])
def test_decode_with_a_cache_equals_one_pass(kv: KVRule, cuts: tuple[int, ...]) -> None:
    reference = Reference(model(), kv=kv, dtype=np.float64)
    expected = reference.forward(IDS)
    decisions = reference.decisions
    cache = reference.new_cache()
    parts, seen = [], []
    for part in np.split(np.array(IDS), cuts):
        parts.append(reference.forward(part, cache=cache))
        seen.append(reference.decisions)
    np.testing.assert_allclose(np.concatenate(parts), expected, rtol=1e-11, atol=1e-11)
    np.testing.assert_array_equal(np.concatenate(seen, axis=-1), decisions)
    assert cache.tokens == 5


def test_windows_do_not_see_each_other() -> None:
    reference = Reference(model(), dtype=np.float64)
    ids = np.random.default_rng(5).integers(0, SHAPE.vocab, (4, 7))
    together = reference.forward(ids)
    decisions = reference.decisions
    for i, window in enumerate(ids):
        np.testing.assert_allclose(together[i], reference.forward(window), rtol=1e-11, atol=1e-11)
        np.testing.assert_array_equal(decisions[:, :, i], reference.decisions)


def test_greedy_generation_follows_the_full_forward() -> None:
    reference = Reference(model(), dtype=np.float64)
    generated = reference.generate(IDS, 6)
    fed = IDS + generated[:-1]
    decisions = reference.decisions
    assert np.argmax(reference.forward(fed)[len(IDS) - 1 :], axis=-1).tolist() == generated
    np.testing.assert_array_equal(decisions, reference.decisions)


class Zeroed:
    """A checkpoint whose tensors with `ending` are all zero."""

    def __init__(self, checkpoint: RandomCheckpoint, ending: str) -> None:
        self.checkpoint, self.ending = checkpoint, ending

    def __getattr__(self, name: str) -> Any:
        return getattr(self.checkpoint, name)

    def tensor(self, name: str) -> Array:
        tensor = self.checkpoint.tensor(name)
        return np.zeros_like(tensor) if name.endswith(self.ending) else tensor


def test_ties_execute_and_equal_logits_take_the_lowest_id() -> None:
    reference = Reference(Zeroed(model(), "_router.weight"))
    reference.forward(IDS)
    assert reference.decisions.all()
    assert Reference(Zeroed(model(), "lm_head.weight")).generate(IDS, 3) == [0, 0, 0]


def test_routing_off_equals_the_model_without_routers() -> None:
    plain = Reference(model("off"), dtype=np.float64).forward(IDS)
    routed = Reference(model(), routing=False, dtype=np.float64)
    np.testing.assert_array_equal(routed.forward(IDS), plain)
    assert routed.decisions.all()


def test_forced_decisions_replace_the_routers() -> None:
    reference = Reference(model(), dtype=np.float64)
    own = reference.forward(IDS)
    decisions = reference.decisions.copy()
    np.testing.assert_array_equal(reference.forward(IDS, force=decisions), own)
    decisions[2, FFN] = ~decisions[2, FFN]
    assert np.abs(reference.forward(IDS, force=decisions) - own).max() > 1e-3
    np.testing.assert_array_equal(reference.decisions, decisions)


def test_int4_weights_are_the_dequantised_ones(folder: Path) -> None:
    checkpoint = ModelFolder(folder)
    ids = list(range(20, 40))
    quantised = Reference(checkpoint, weights="int4", dtype=np.float64).forward(ids)
    untied = replace(checkpoint.shape, tied=False)
    same = RandomCheckpoint(untied, checkpoint.policy, seed=7)
    np.testing.assert_array_equal(quantised, Reference(same, dtype=np.float64).forward(ids))
    assert np.abs(Reference(checkpoint).forward(ids) - quantised).max() > 1e-3


def test_wrong_requests_are_named() -> None:
    reference = Reference(model())
    with pytest.raises(InputError, match="token id must be from 0 to 10 for this model, not 11"):
        reference.forward([1, 11])
    with pytest.raises(InputError, match=r"at most the model's context \(12\) tokens, not 13"):
        reference.forward([0] * 13)
    with pytest.raises(InputError, match=r"'skipgpt-layer-input': kv must not be 'reuse' unless"):
        Reference(model("skipgpt-layer-input"), kv=KVRule.REUSE)
    with pytest.raises(ValueError, match="source must be 'float' or 'int4', not 'int8'"):
        Reference(model(), weights="int8")
    with pytest.raises(InputError, match=r"needs .*bottleneck addend, which the float reference"):
        Reference(model("informed-routing"))
