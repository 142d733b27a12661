"""K and V of skipped tokens: the cache against a naive account, token by token."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hwroute.config import PRESETS
from hwroute.kv import ORDER_FIELDS
from hwroute.models.generate import generate
from hwroute.models.golden import Golden
from hwroute.models.library import named_policy
from hwroute.models.ops.kv import KVMemory
from hwroute.models.random_weights import RandomCheckpoint
from hwroute.models.sequence import KVCache, Sequence
from hwroute.policy_terms import KVRule
from hwroute.shape import ModelShape

SHAPE = ModelShape(
    dim=128, layers=5, heads=4, kv_heads=2, head_dim=32, ffn_dim=128, vocab=50, context=48
)
DEMO = PRESETS["demo"]
RULES = [KVRule.REUSE, KVRule.DENSE, KVRule.EVICT]
FIELD = {name: index for index, name in enumerate(ORDER_FIELDS)}


def model(rule: KVRule = KVRule.REUSE) -> RandomCheckpoint:
    return RandomCheckpoint(SHAPE, replace(named_policy("skipgpt"), kv=rule), seed=8)


def ids(count: int) -> Any:
    return np.random.default_rng(2).integers(0, SHAPE.vocab, count)


def vectors(seed: int, count: int) -> Any:
    """Return K or V [count, kv_heads, head_dim]."""
    values = np.random.default_rng(seed).standard_normal((count, 2, 32))
    return values.astype(np.float16).view(np.uint16)


class NaiveReuse:
    """Plain Llama in float64, one token at a time, K and V in a dictionary.

    Decisions are given; a skipping token's entry of a layer is that of its last executed layer.
    """

    def __init__(self, checkpoint: RandomCheckpoint):
        self.get = lambda name: checkpoint.tensor(name).astype(np.float64)
        self.entries: dict[tuple[int, int], tuple[Any, Any]] = {}

    def norm(self, x: Any, name: str) -> Any:
        return x / np.sqrt(np.mean(x * x) + SHAPE.norm_eps) * self.get(name)

    def turn(self, x: Any, position: int) -> Any:
        half = SHAPE.head_dim // 2
        turned = (x[:, :half] + 1j * x[:, half:]) * np.exp(
            1j * position * 10000.0 ** (-np.arange(half) / half)
        )
        return np.concatenate([turned.real, turned.imag], axis=1)

    def attend(self, layer: int, q: Any, position: int) -> Any:
        """Return the mix of values of tokens up to `position`, each from its last layer."""
        out = []
        for head in range(SHAPE.heads):
            group = head // SHAPE.queries_per_kv
            scores, values = [], []
            for token in range(position + 1):
                last = max(n for n in range(layer + 1) if (n, token) in self.entries)
                k, v = self.entries[last, token]
                scores.append(q[head] @ k[group] / np.sqrt(SHAPE.head_dim))
                values.append(v[group])
            weights = np.exp(np.array(scores) - max(scores))
            out.append(weights @ np.array(values) / weights.sum())
        return np.concatenate(out)

    def step(self, token: int, position: int, executed: Any) -> Any:
        """Return the logits of one token; executed [layers, 2]."""
        x = self.get("model.embed_tokens.weight")[token]
        for layer in range(SHAPE.layers):
            prefix = f"model.layers.{layer}."
            if executed[layer, 0]:
                n = self.norm(x, prefix + "input_layernorm.weight")
                q, k, v = (
                    (self.get(f"{prefix}self_attn.{c}_proj.weight") @ n).reshape(-1, 32)
                    for c in "qkv"
                )
                self.entries[layer, position] = self.turn(k, position), v
                mixed = self.attend(layer, self.turn(q, position), position)
                x = x + self.get(prefix + "self_attn.o_proj.weight") @ mixed
            if executed[layer, 1]:
                n = self.norm(x, prefix + "post_attention_layernorm.weight")
                gate, up = (self.get(f"{prefix}mlp.{c}_proj.weight") @ n for c in ("gate", "up"))
                x = x + self.get(prefix + "mlp.down_proj.weight") @ (
                    gate / (1 + np.exp(-gate)) * up
                )
        return self.get("lm_head.weight") @ self.norm(x, "model.norm.weight")


def test_reuse_agrees_with_a_naive_network_one_token_at_a_time() -> None:
    checkpoint, count = model(), 16
    sequence = Sequence(SHAPE)
    golden = Golden(checkpoint, DEMO)
    logits = [golden.forward(ids(count)[:11], sequence).values["logits"]]
    logits += [
        golden.forward(ids(count)[n : n + 1], sequence).values["logits"] for n in range(11, 16)
    ]
    naive = NaiveReuse(checkpoint)
    exact = np.array(
        [
            naive.step(token, position, sequence.executed[..., position])
            for position, token in enumerate(ids(count).tolist())
        ]
    )
    assert 0.2 < sequence.executed[1:, 0, :count].mean() < 0.9
    error = (np.concatenate(logits) - exact) / exact.std()
    assert np.sqrt(np.square(error).mean()) < 1.5e-3
    assert np.abs(error).max() < 1e-2


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("tiles", [(20,), (7, 1, 1, 11), (1,) * 20])
def test_every_entry_is_that_of_the_layer_that_the_rule_names(
    rule: KVRule, tiles: tuple[int, ...]
) -> None:
    """From what the layers wrote, bit for bit; nothing else is in the cache."""
    written: dict[tuple[int, int], dict[str, Any]] = {}

    def keep(_: Any, operation: Any, tile: Any, outputs: Any) -> None:
        kind = operation.name.rpartition("attention.")[2]
        if kind in ("k.rotate", "v"):
            (value,) = outputs.values()
            rows = tile.start + tile.selected(operation.predicate)
            for row, bits in zip(rows.tolist(), value.reshape(len(rows), 2, 32), strict=True):
                written.setdefault((operation.layer, row), {})[kind] = bits

    golden = Golden(model(rule), DEMO, observer=keep)
    sequence = Sequence(SHAPE)
    for end in np.cumsum(tiles).tolist():
        golden.forward(ids(20)[sequence.position : end], sequence)
    cache, executed = sequence.cache, sequence.executed[:, 0]
    assert not cache.valid[:, 20:].any()
    for layer in range(SHAPE.layers):
        for token in range(20):
            last = max(n for n in range(layer + 1) if executed[n, token])
            if rule is KVRule.EVICT:
                assert cache.valid[layer, token] == executed[layer, token]
                if last != layer:
                    continue
            source = layer if rule is KVRule.DENSE else last
            assert cache.valid[layer, token]
            assert cache.source[layer, token] == source
            entry = written[source, token]
            np.testing.assert_array_equal(cache.keys[layer, :, token, :32], entry["k.rotate"])
            np.testing.assert_array_equal(cache.values[layer, :, token, :32], entry["v"])
            exponents = (entry["v"] >> 10 & 31).max(axis=1)
            assert cache.exponents[layer, :, token, 0].tolist() == exponents.tolist()
    computed = executed[:, :20].sum() if rule is not KVRule.DENSE else SHAPE.layers * 20
    assert len(written) == computed


def test_entries_are_padded_with_zeros_to_blocks_of_64() -> None:
    shape = replace(SHAPE, head_dim=80)
    cache = KVCache(shape)
    assert cache.keys.shape == (5, 2, 48, 128)
    values = np.full((3, 2, 80), 0x7BFF, np.uint16)
    values[..., 64:] = 0x0400
    cache.write(1, np.array([4, 7, 5]), values, values)
    assert cache.exponents[1][:, [4, 5, 7]].tolist() == [[[30, 1]] * 3] * 2
    assert not cache.keys[..., 80:].any()
    assert not cache.values[..., 80:].any()


def test_a_cache_copies_or_drops_what_a_token_skips() -> None:
    for rule in RULES:
        cache = KVCache(SHAPE)
        keys, values = vectors(1, 3), vectors(2, 3)
        cache.write(0, np.arange(3), keys, values)
        cache.skip(1, np.array([0, 2]), rule)
        cache.skip(2, np.array([0]), rule)
        reuses = rule is KVRule.REUSE
        assert cache.valid[1, :3].tolist() == [reuses, False, reuses]
        assert cache.valid[2, :3].tolist() == [reuses, False, False]
        if reuses:
            np.testing.assert_array_equal(cache.keys[2, :, 0, :32], keys[0])
            np.testing.assert_array_equal(cache.values[1, :, 2, :32], values[2])
            assert (cache.exponents[2, :, 0] == cache.exponents[0, :, 0]).all()


@pytest.mark.parametrize("rule", RULES)
def test_slots_are_given_to_what_computes_and_nothing_else(rule: KVRule) -> None:
    memory = KVMemory(DEMO.kv, log=[])
    sequence = Sequence(SHAPE, memory)
    every = np.arange(6)
    sequence.write_kv(0, 0, 6, rule, (every, vectors(1, 6), vectors(2, 6)))
    rows = np.array([1, 4])
    slots = sequence.write_kv(1, 0, 6, rule, (rows, vectors(3, 2), vectors(4, 2)))
    assert slots is not None
    assert slots.shape == (2, 2)
    assert memory.directory.slots_used() == 8
    for token in range(6):
        entry = memory.directory.entry(1, token)
        own = token in (1, 4)
        assert entry.valid == (own or rule is KVRule.REUSE)
        assert entry.source_layer == int(own)
    written = [memory.directory.entry(1, token) for token in (1, 4)]
    assert slots.tolist() == [[entry.port, entry.slot] for entry in written]


@pytest.mark.parametrize("rule", [KVRule.REUSE, KVRule.EVICT])
def test_a_tile_that_skips_a_layer_writes_no_slot_and_empties_the_buffer(rule: KVRule) -> None:
    log: list[Any] = []
    memory = KVMemory(DEMO.kv, log=log)
    sequence = Sequence(SHAPE, memory)
    sequence.write_kv(0, 0, 4, rule, (np.arange(4), vectors(1, 4), vectors(2, 4)))
    slots = sequence.write_kv(1, 0, 4, rule)
    assert slots is not None
    assert slots.shape == (0, 2)
    assert log[-1].op.name == "INVALIDATE"
    assert memory.directory.slots_used() == 4


def test_without_a_memory_there_are_no_slots_and_no_order() -> None:
    sequence = Sequence(SHAPE)
    new = (np.arange(2), vectors(1, 2), vectors(2, 2))
    assert sequence.write_kv(0, 0, 2, KVRule.REUSE, new) is None
    assert sequence.order_entries(0, 0, 2, decode=False) is None


@pytest.mark.parametrize("rule", RULES)
def test_orders_name_every_entry_that_attention_reads_once(rule: KVRule) -> None:
    """Prefill consumes its own entries too; a decode step those before it."""
    orders: list[tuple[int, int, int, Any]] = []

    def keep(_: Any, operation: Any, tile: Any, outputs: Any) -> None:
        if operation.name.endswith(".kv.order"):
            (order,) = outputs.values()
            orders.append((operation.layer, tile.start, len(tile.tokens), order))

    checkpoint = model(rule)
    golden = Golden(checkpoint, DEMO, observer=keep)
    memory = KVMemory(DEMO.kv)
    sequence = Sequence(SHAPE, memory)
    for size in (13, 1, 1, 1, 1):
        start = sequence.position
        golden.forward(ids(20)[start : start + size], sequence, decode=size == 1)
    hits = 0
    for layer, start, count, order in orders:
        end = start if count == 1 else start + count
        expected = np.flatnonzero(sequence.cache.valid[layer, :end])
        assert sorted(order[:, FIELD["token"]].tolist()) == expected.tolist()
        sources = sequence.cache.source[layer, order[:, FIELD["token"]]]
        assert order[:, FIELD["source_layer"]].tolist() == sources.tolist()
        if count > 1:
            assert not order[:, FIELD["hit"]].any()
        hits += int(order[:, FIELD["hit"]].sum())
    assert len(orders) > 10
    # Only entries that the next layer reuses are kept.
    assert (hits > 0) == (rule is KVRule.REUSE)


def test_a_memory_begins_anew_with_a_sequence() -> None:
    memory = KVMemory(DEMO.kv)
    golden = Golden(model(), DEMO)
    first = generate(golden, [1, 2, 3], 4, memory=memory)
    used = memory.directory.slots_used()
    assert generate(golden, [1, 2, 3], 4, memory=memory).token_ids == first.token_ids
    assert memory.directory.slots_used() == used


def test_evicted_tokens_are_not_attended_to() -> None:
    """What an evicted token's row of the cache holds changes nothing."""
    golden, tokens = Golden(model(KVRule.EVICT), DEMO), ids(14)
    plain, spoilt = Sequence(SHAPE), Sequence(SHAPE)
    for sequence in (plain, spoilt):
        golden.forward(tokens[:13], sequence)
    evicted = ~spoilt.cache.valid[:, None, :13, None]
    for array in (spoilt.cache.keys, spoilt.cache.values):
        array[:, :, :13] = np.where(evicted, 0x5000, array[:, :, :13])
    assert evicted.any()
    results = [
        golden.forward(tokens[13:], sequence).values["logits"] for sequence in (plain, spoilt)
    ]
    np.testing.assert_array_equal(*results)
