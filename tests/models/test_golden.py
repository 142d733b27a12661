"""The golden model: every operation against float64, and bits that nothing but numerics decides."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hwroute.compare import compare
from hwroute.config import PRESETS, Config, Numerics, Rounding, Variant
from hwroute.errors import InputError
from hwroute.models.generate import Tracer
from hwroute.models.golden import Golden
from hwroute.models.library import named_policy
from hwroute.models.ops.kv import KVMemory
from hwroute.models.random_weights import RandomCheckpoint
from hwroute.models.reference import Reference
from hwroute.models.sequence import Sequence
from hwroute.policy import RoutingPolicy
from hwroute.policy_parts import Site
from hwroute.policy_terms import KVRule, Tie
from hwroute.shape import Llama3Scaling, ModelShape

SHAPE = ModelShape(
    dim=128, layers=5, heads=4, kv_heads=2, head_dim=32, ffn_dim=256, vocab=96, context=64
)
SCALING = Llama3Scaling(factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_context=32)
POLICIES = {
    name: named_policy(name)
    for name in (
        "skipgpt",
        "skipgpt-dense-kv",
        "skipgpt-layer-input",
        "duo-llm-bypass",
        "latched-layers",
        "off",
    )
}
POLICIES["evict"] = replace(POLICIES["skipgpt"], name="evict", kv=KVRule.EVICT)


def reversed_site(name: str, first_tokens: int) -> Site:
    """Return a site of "skipgpt" whose second logit executes, and whose first tokens do."""
    site: Site = getattr(POLICIES["skipgpt"], name)
    overrides = replace(site.overrides, first_tokens=first_tokens)
    return replace(site, outcomes=site.outcomes[::-1], overrides=overrides)


POLICIES["first-tokens"] = replace(
    POLICIES["skipgpt"],
    name="first-tokens",
    attention=reversed_site("attention", 5),
    ffn=reversed_site("ffn", 3),
)
DEMO = PRESETS["demo"]
OVERPACKED = replace(DEMO, numerics=Numerics(variant=Variant.OVERPACKED))


class Altered(RandomCheckpoint):
    """Random weights, some of them replaced."""

    def __init__(self, shape: ModelShape, policy: RoutingPolicy, replaced: dict[str, Any]):
        super().__init__(shape, policy, seed=3)
        self.replaced = replaced

    def fp16(self, name: str) -> Any:
        return self.replaced.get(name, super().fp16(name))


def model(policy: str = "skipgpt", shape: ModelShape = SHAPE, seed: int = 3) -> RandomCheckpoint:
    return RandomCheckpoint(shape, POLICIES[policy], seed=seed)


def ids(count: int, seed: int = 1, shape: ModelShape = SHAPE) -> Any:
    return np.random.default_rng(seed).integers(0, shape.vocab, count)


def run(golden: Golden, tokens: Any, tiles: tuple[int, ...], memory: KVMemory | None = None) -> Any:
    """Return logits and planes of `tokens` fed in tiles of the given sizes."""
    sequence = Sequence(golden.shape, memory)
    assert sum(tiles) == len(tokens)
    ends = np.cumsum(tiles)
    logits = [
        golden.forward(tokens[end - size : end], sequence).values["logits"]
        for size, end in zip(tiles, ends, strict=True)
    ]
    return np.concatenate(logits), sequence.executed[..., : len(tokens)], sequence


def closeness(golden: Golden, reference: Reference, tokens: Any) -> tuple[float, float, float]:
    """Return error of the logits (root mean square, largest; in their deviation) and equal bits."""
    logits, executed, _ = run(golden, tokens, (len(tokens),))
    free = reference.forward(tokens)
    equal = float((executed == reference.decisions).mean())
    if equal < 1:
        free = reference.forward(tokens, force=executed)
    error = (logits - free) / free.std()
    return float(np.sqrt(np.square(error).mean())), float(np.abs(error).max()), equal


@pytest.mark.parametrize("policy", POLICIES)
def test_logits_and_decisions_are_close_to_the_float_reference(policy: str) -> None:
    checkpoint = model(policy)
    reference = Reference(checkpoint, weights="int4", dtype=np.float64)
    rms, largest, equal = closeness(Golden(checkpoint, DEMO), reference, ids(48))
    assert rms <= 1.2e-3
    assert largest <= 1e-2
    assert equal >= 0.995


@pytest.mark.parametrize(
    "shape",
    [
        replace(SHAPE, head_dim=32, heads=4, kv_heads=1),
        replace(SHAPE, head_dim=64, heads=2, kv_heads=2),
        replace(SHAPE, head_dim=128, heads=2, kv_heads=1),
        replace(SHAPE, head_dim=80, heads=8, kv_heads=2),
        replace(SHAPE, qkv_bias=True),
        replace(SHAPE, rope_scaling=SCALING, rope_theta=5e5),
        replace(SHAPE, tied=True, norm_eps=1e-3),
        replace(SHAPE, dim=256, ffn_dim=384, vocab=77, context=49),
    ],
)
def test_every_kind_of_shape_is_close_to_the_float_reference(shape: ModelShape) -> None:
    checkpoint = model("skipgpt", shape)
    reference = Reference(checkpoint, weights="int4", dtype=np.float64)
    rms, largest, equal = closeness(Golden(checkpoint, DEMO), reference, ids(40, shape=shape))
    assert rms <= 2e-3
    assert largest <= 1.5e-2
    assert equal >= 0.99


def test_the_overpacked_variant_and_truncation_run_and_are_less_close() -> None:
    """Truncated products cost what SkipOPU's table says: far more than the aligned variant's."""
    checkpoint = model()
    reference = Reference(checkpoint, weights="int4", dtype=np.float64)
    aligned = closeness(Golden(checkpoint, DEMO), reference, ids(16))[0]
    for numerics in (
        Numerics(variant=Variant.OVERPACKED),
        Numerics(rounding=Rounding.TOWARD_ZERO),
        Numerics(variant=Variant.OVERPACKED, rounding=Rounding.TOWARD_ZERO),
    ):
        golden = Golden(checkpoint, replace(DEMO, numerics=numerics))
        rms, _, equal = closeness(golden, reference, ids(16))
        assert aligned < rms <= 2e-2
        assert equal >= 0.97


def uneven(count: int, seed: int) -> tuple[int, ...]:
    rng, sizes = np.random.default_rng(seed), []
    while sum(sizes) < count:
        sizes.append(min(int(rng.integers(1, 12)), count - sum(sizes)))
    return tuple(sizes)


@pytest.mark.parametrize(
    ("policy", "config"), [*((name, DEMO) for name in POLICIES), ("skipgpt", OVERPACKED)]
)
def test_tiles_do_not_change_a_bit(policy: str, config: Config) -> None:
    """The whole prompt at once, token by token and in uneven tiles: equal logits, planes, K, V."""
    golden, count = Golden(model(policy), config), 27
    whole, planes, sequence = run(golden, ids(count), (count,))
    for tiles in ((1,) * count, uneven(count, 5), (13, 1, 13)):
        logits, executed, other = run(golden, ids(count), tiles)
        np.testing.assert_array_equal(whole.view(np.uint32), logits.view(np.uint32))
        np.testing.assert_array_equal(planes, executed)
        for name in ("keys", "values", "exponents", "valid", "source"):
            np.testing.assert_array_equal(
                getattr(sequence.cache, name), getattr(other.cache, name), err_msg=name
            )
    if policy not in ("off", "latched-layers"):
        assert 0.2 < planes.mean() < 0.95


def geometries() -> Iterator[Config]:
    yield DEMO
    yield PRESETS["u280"]
    kv = replace(DEMO.kv, hbm_ports=2, buffer_tokens=4, buffer_write_ports=1)
    yield replace(DEMO, kv=kv, array=replace(DEMO.array, columns=64))


@pytest.mark.parametrize("policy", ["skipgpt", "skipgpt-dense-kv", "evict"])
def test_geometry_and_memory_do_not_change_a_bit(policy: str) -> None:
    tokens, tiles = ids(25), (12, *(1,) * 13)
    checkpoint = model(policy)
    expected = run(Golden(checkpoint, DEMO), tokens, tiles)[0]
    for config in geometries():
        logits = run(Golden(checkpoint, config), tokens, tiles, KVMemory(config.kv))[0]
        np.testing.assert_array_equal(expected.view(np.uint32), logits.view(np.uint32))


def test_numerics_do_change_bits() -> None:
    """What the two tests above compare could differ."""
    tokens = ids(12)
    runs = [run(Golden(model(), config), tokens, (12,))[0] for config in (DEMO, OVERPACKED)]
    assert (runs[0] != runs[1]).any()


@pytest.mark.parametrize("policy", ["skipgpt", "evict"])
def test_two_runs_give_equal_traces(policy: str) -> None:
    traces = []
    for _ in range(2):
        checkpoint = model(policy)
        tracer = Tracer(checkpoint, DEMO)
        golden = Golden(checkpoint, DEMO, observer=tracer)
        run(golden, ids(14), (10, 1, 1, 2), KVMemory(DEMO.kv))
        traces.append(tracer.trace)
    result = compare(*traces)
    assert result.match
    assert result.records > 4 * 40


def idle(policy: str) -> Altered:
    """Return a model whose routers always tie, and whose ties skip."""
    rules = POLICIES[policy]
    sites = {}
    for name, site in rules.sites():
        sites[name] = replace(site, decision=replace(site.decision, tie=Tie.SKIP))
    zeros = np.zeros((2, SHAPE.dim), np.uint16)
    names = [f"model.layers.{n}.{kind}_router.weight" for n in range(5) for kind in ("attn", "ffn")]
    return Altered(SHAPE, replace(rules, **sites), dict.fromkeys(names, zeros))


@pytest.mark.parametrize("tiles", [(9,), (1,) * 9, (4, 5)])
@pytest.mark.parametrize("policy", ["skipgpt", "evict"])
def test_what_no_token_executes_leaves_the_residual_and_writes_no_kv(
    policy: str, tiles: tuple[int, ...]
) -> None:
    checkpoint = idle(policy)
    residuals: dict[str, list[Any]] = {}

    def keep(_: Golden, operation: Any, __: Any, written: Any) -> None:
        residuals.setdefault(operation.name, []).append(written)

    memory = KVMemory(DEMO.kv)
    golden = Golden(checkpoint, DEMO, observer=keep)
    logits, executed, sequence = run(golden, ids(9), tiles, memory)
    # Only the first layer's attention ran, which has no router.
    assert executed[0, 0].all()
    assert executed.sum() == 9
    assert [name for name in residuals if name.endswith(".add")] == ["layers.0.attention.add"]
    assert not any(".k" in name and not name.startswith("layers.0.") for name in residuals)
    assert memory.directory.slots_used() == 9
    if policy == "skipgpt":
        assert sequence.cache.valid[:, :9].all()
        assert not sequence.cache.source.any()
    else:
        assert not sequence.cache.valid[1:].any()
    # The head sees the first layer's residual, bit for bit.
    short = replace(SHAPE, layers=1)
    zeros = np.zeros((2, SHAPE.dim), np.uint16)
    alone = Altered(short, checkpoint.policy, {"model.layers.0.ffn_router.weight": zeros})
    np.testing.assert_array_equal(run(Golden(alone, DEMO), ids(9), (9,))[0], logits)


def test_rows_that_skip_keep_the_bits_of_their_residual() -> None:
    golden = Golden(model(), DEMO)
    tile = golden.forward(ids(30), Sequence(SHAPE))
    for layer in range(1, 5):
        for kind, before in (("attention", f"layers.{layer - 1}.ffn.out"), ("ffn", None)):
            source = before or f"layers.{layer}.attention.out"
            skipped = ~tile.planes[f"layers.{layer}.{kind}.plane"]
            out = tile.values[f"layers.{layer}.{kind}.out"]
            np.testing.assert_array_equal(out[skipped], tile.values[source][skipped])
            assert (out[~skipped] != tile.values[source][~skipped]).any()


def test_the_first_tokens_of_a_sequence_execute_whatever_the_router_says() -> None:
    planes = run(Golden(model("first-tokens"), DEMO), ids(30), (4, 1, 25))[1]
    assert planes[:, 0, :5].all()
    assert planes[:, 1, :3].all()
    assert not planes[1:, 0, 5:].all(axis=1).any()
    assert not planes[:, 1, 3:].all(axis=1).any()


def test_an_overflow_is_sticky_and_named_once() -> None:
    """One dimension's gain is the largest FP16: the norm saturates there, in every tile."""
    gain = np.full(SHAPE.dim, 0x3C00, np.uint16)
    gain[7] = 0x7BFF
    checkpoint = Altered(SHAPE, POLICIES["off"], {"model.layers.2.input_layernorm.weight": gain})
    golden = Golden(checkpoint, DEMO)
    assert golden.overflowed == []
    sequence = Sequence(SHAPE)
    golden.forward(ids(6), sequence)
    first = list(golden.overflowed)
    assert first[0] == "layers.2.attention.normalise"
    golden.forward(ids(3, seed=2), sequence)
    assert golden.overflowed[: len(first)] == first
    assert len(set(golden.overflowed)) == len(golden.overflowed)


def test_a_masked_score_raises_no_overflow() -> None:
    """Only the first query meets a key that it does not see with a score beyond FP16.

    The first rotary pair turns by one radian a token. With q = (1000, 0) and k = (305, -305) in it,
    score (i, j) is some 55,000 (cos(i - j) - sin(i - j)): 55,000 for i = j, 76,000 for i < j.
    """
    shape = replace(SHAPE, layers=1, qkv_bias=True, head_dim=64, heads=2, kv_heads=2)
    q, k = np.zeros((2, 64), np.float16), np.zeros((2, 64), np.float16)
    q[:, 0], k[:, 0], k[:, 32] = 1000, 305, -305
    biases = {"q": q, "k": k}
    names = {
        f"model.layers.0.self_attn.{key}_proj.bias": value.view(np.uint16).ravel()
        for key, value in biases.items()
    }
    checkpoint = Altered(shape, POLICIES["off"], names)
    whole, single = Golden(checkpoint, DEMO), Golden(checkpoint, DEMO)
    tile = whole.forward(ids(2), Sequence(shape))
    assert (np.abs(tile.values["layers.0.attention.scores"][0, :, 1]) == 0x7BFF).all()
    assert (run(single, ids(2), (1, 1))[0] == tile.values["logits"]).all()
    assert single.overflowed == []
    assert whole.overflowed == []


def test_a_policy_beyond_the_machine_is_refused() -> None:
    with pytest.raises(InputError, match="which the golden model does not run"):
        Golden(model(), DEMO, policy=named_policy("d-llm"))


def test_the_policy_given_replaces_the_checkpoints() -> None:
    golden = Golden(model("skipgpt"), DEMO, policy=POLICIES["off"])
    assert run(golden, ids(8), (8,))[1].all()
