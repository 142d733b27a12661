"""Each operation of a decoder layer against float64 on the operation's own inputs.

The evaluation here starts from the checkpoint's tensors in Hugging Face's order, not from what the
golden model made of them: a missing mask, scale, bias or permutation would show.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from hwroute.config import PRESETS
from hwroute.models.golden import Golden
from hwroute.models.library import named_policy
from hwroute.models.random_weights import RandomCheckpoint
from hwroute.models.sequence import Sequence
from hwroute.operations import Operation, Operator
from hwroute.policy_terms import KVRule
from hwroute.shape import ModelShape

SHAPE = ModelShape(
    dim=128,
    layers=3,
    heads=4,
    kv_heads=2,
    head_dim=32,
    ffn_dim=256,
    vocab=64,
    context=32,
    qkv_bias=True,
)
HALF_UNIT = 0.52 * 2.0**-10
"""0.52 units of FP16, relative to the power of two below a value."""


def real(values: Any) -> Any:
    """Return FP16 patterns as float64, subnormals as zero; other arrays unchanged."""
    if values.dtype != np.uint16:
        return values
    normal = np.where(values & 0x7C00, values, 0).astype(np.uint16)
    return normal.view(np.float16).astype(np.float64)


def units(exact: Any) -> Any:
    return np.exp2(np.floor(np.log2(np.maximum(np.abs(exact), 2.0**-14))))


@dataclass
class Judge:
    """An observer that evaluates every operation again and remembers the largest error.

    Errors are in units of the bound that the operation is allowed: 1 is the bound.
    """

    checkpoint: RandomCheckpoint

    def __post_init__(self) -> None:
        self.worst: dict[Operator, float] = {}
        self.seen: dict[Operator, int] = {}

    def __call__(self, golden: Golden, operation: Operation, tile: Any, written: Any) -> None:
        rows = tile.selected(operation.predicate)
        inputs = [real(tile.take(name, rows)) for name in operation.inputs]
        check: Callable[..., float] = getattr(self, operation.operator.name.lower(), lambda *_: 0.0)
        error = check(operation, tile, rows, inputs, [real(value) for value in written.values()])
        kind = operation.operator
        self.worst[kind] = max(self.worst.get(kind, 0.0), error)
        self.seen[kind] = self.seen.get(kind, 0) + 1

    def tensor(self, name: str) -> Any:
        return self.checkpoint.tensor(name).astype(np.float64)

    def embed(self, operation: Any, tile: Any, rows: Any, inputs: Any, out: Any) -> float:
        exact = self.tensor(operation.weights[0])[tile.tokens]
        return float((np.where(np.abs(exact) < 2**-14, 0, exact) != out[0]).any())

    def reduce(self, operation: Any, tile: Any, rows: Any, inputs: Any, out: Any) -> float:
        (x,) = inputs
        error = np.abs(out[0] / np.square(x).sum(axis=1) - 1).max() / 2.0**-21
        if operation.weights:
            w = self.tensor(operation.weights[0])
            top = np.abs(x).max(axis=1, keepdims=True) @ np.abs(w).sum(axis=1)[None]
            top += np.abs(x).sum(axis=1, keepdims=True) @ np.abs(w).max(axis=1)[None]
            error = max(error, (np.abs(out[1] - x @ w.T) / (top * 2.0**-20)).max())
        return float(error)

    def decide(self, operation: Any, tile: Any, rows: Any, inputs: Any, out: Any) -> float:
        return float((out[0] != (inputs[0][:, 0] >= inputs[0][:, 1])).any())

    def normalise(self, operation: Any, tile: Any, rows: Any, inputs: Any, out: Any) -> float:
        x = inputs[0]
        mean = np.square(x).mean(axis=1, keepdims=True)
        exact = x / np.sqrt(mean + SHAPE.norm_eps) * self.tensor(operation.weights[0])
        return self.elementwise(exact, out[0])

    def elementwise(self, exact: Any, out: Any, extra: Any = 0.0) -> float:
        normal = np.abs(exact) >= 2.0**-14
        error = np.abs(out - exact) / (HALF_UNIT * units(exact) + extra)
        return float(error[normal].max())

    def matmul(self, operation: Any, tile: Any, rows: Any, inputs: Any, out: Any) -> float:
        (x,) = inputs
        exact, extra = self.product(operation, x)
        name = operation.weights[0]
        if "q_proj" in name or "k_proj" in name:
            # Hugging Face pairs i with i + head_dim / 2; the machine's pairs are neighbours.
            heads = exact.reshape(len(x), -1, 2, SHAPE.head_dim // 2)
            exact = heads.swapaxes(2, 3).reshape(exact.shape)
            extra = np.broadcast_to(extra, exact.shape).reshape(heads.shape)
            extra = extra.swapaxes(2, 3).reshape(exact.shape)
        return self.elementwise(exact, out[0], extra)

    def product(self, operation: Any, x: Any) -> tuple[Any, Any]:
        """Return a matrix product and what alignment to 14 bits may change."""
        w = self.tensor(operation.weights[0])
        exact = x @ w.T
        if len(operation.weights) == 2:
            exact = exact + self.tensor(operation.weights[1])
        blocks = np.abs(x).reshape(len(x), -1, 64).max(axis=2)
        weights = np.abs(w).reshape(len(w), -1, 64).sum(axis=2)
        return exact, 2.0**-14 * blocks @ weights.T + 2.0**-22 * np.abs(x) @ np.abs(w).T

    def rotate(self, operation: Any, tile: Any, rows: Any, inputs: Any, out: Any) -> float:
        half = SHAPE.head_dim // 2
        pairs = inputs[0].reshape(len(rows), -1, half, 2)
        angles = (tile.start + rows)[:, None, None] * SHAPE.rope_theta ** (-np.arange(half) / half)
        scale = np.log2(np.e) / np.sqrt(SHAPE.head_dim) if ".q." in operation.name else 1.0
        turned = (pairs[..., 0] + 1j * pairs[..., 1]) * np.exp(1j * angles) * scale
        exact = np.stack([turned.real, turned.imag], axis=-1).reshape(out[0].shape)
        # The table's own rounding: half a unit of FP16 of cosine and sine each.
        table = 1.01 * 2.0**-11 * scale * np.abs(pairs).sum(axis=-1, keepdims=True)
        return self.elementwise(
            exact, out[0], np.broadcast_to(table, pairs.shape).reshape(exact.shape)
        )

    def visible(self, operation: Any, tile: Any, rows: Any) -> Any:
        entries = tile.start + len(tile.tokens)
        executed = tile.sequence.executed[operation.layer, 0, :entries]
        causal = np.arange(entries) <= (tile.start + rows)[:, None]
        evicts = self.checkpoint.policy.kv is KVRule.EVICT
        return causal & (executed if evicts else True)

    def scores(self, operation: Any, tile: Any, rows: Any, inputs: Any, out: Any) -> float:
        entries = tile.start + len(tile.tokens)
        keys = real(tile.sequence.cache.keys[operation.layer][:, :entries, : SHAPE.head_dim])
        keys = np.repeat(keys, SHAPE.queries_per_kv, axis=0)
        exact = np.einsum("rhd,hnd->rhn", inputs[0], keys)
        largest = np.abs(inputs[0]).max(axis=2)[:, :, None] * np.abs(keys).max(axis=2)[None]
        error = self.elementwise(exact, out[0], 64 * 2.1 * 2.0**-16 * largest)
        visible = self.visible(operation, tile, rows)
        seen = np.where(visible[:, None], out[0], -np.inf).max(axis=2)
        assert (out[-1] == np.ceil(seen)).all()
        return error

    def attend(self, operation: Any, tile: Any, rows: Any, inputs: Any, out: Any) -> float:
        """From scores on: softmax and the mix of values, without a look at the maximum."""
        scores, entries = inputs[0], tile.start + len(tile.tokens)
        visible = self.visible(operation, tile, rows)[:, None]
        values = real(tile.sequence.cache.values[operation.layer][:, :entries, : SHAPE.head_dim])
        values = np.repeat(values, SHAPE.queries_per_kv, axis=0)
        p = np.where(visible, np.exp2(scores), 0)
        p /= p.sum(axis=2, keepdims=True)
        assert ((out[0] != 0) <= visible).all()
        exact = np.einsum("rhn,hnd->rhd", p, values).reshape(len(rows), -1)
        # Each probability is off by 0.52 units of FP16, and so is their sum at most.
        magnitudes = np.einsum("rhn,hnd->rhd", p, np.abs(values)).reshape(len(rows), -1)
        return self.elementwise(exact, out[3], 2 * 0.52 * 2.0**-10 * magnitudes)

    def swiglu(self, operation: Any, tile: Any, rows: Any, inputs: Any, out: Any) -> float:
        gate, up = inputs
        return self.elementwise(gate / (1 + np.exp(-gate)) * up, out[0])

    def add(self, operation: Any, tile: Any, rows: Any, inputs: Any, out: Any) -> float:
        x, addend = inputs
        others = np.setdiff1d(np.arange(len(out[0])), rows)
        assert (out[0][others] == real(tile.values[operation.inputs[0]])[others]).all()
        return self.elementwise(x + addend, out[0][rows])

    def head(self, operation: Any, tile: Any, rows: Any, inputs: Any, out: Any) -> float:
        exact, extra = self.product(operation, inputs[0])
        return float((np.abs(out[0] - exact) / extra).max())

    def argmax(self, operation: Any, tile: Any, rows: Any, inputs: Any, out: Any) -> float:
        return float((out[0] != np.argmax(inputs[0], axis=1)).any())


@pytest.mark.parametrize("kv", [KVRule.REUSE, KVRule.DENSE, KVRule.EVICT])
def test_every_operation_is_bounded_against_float64(kv: KVRule) -> None:
    policy = replace(named_policy("skipgpt"), kv=kv)
    checkpoint = RandomCheckpoint(SHAPE, policy, seed=5)
    judge = Judge(checkpoint)
    golden = Golden(checkpoint, PRESETS["demo"], observer=judge)
    sequence = Sequence(SHAPE)
    tokens = np.random.default_rng(6).integers(0, SHAPE.vocab, 24)
    for tile in (tokens[:20], tokens[20:21], tokens[21:]):
        golden.forward(tile, sequence)
    judged = set(Operator) - {Operator.KV_WRITE, Operator.KV_ORDER}
    assert judged <= set(judge.seen)
    assert {kind.name: error for kind, error in judge.worst.items() if error > 1} == {}
    # The bounds are near what happens: each of these is reached to a fifth.
    for kind in (Operator.NORMALISE, Operator.MATMUL, Operator.ROTATE, Operator.SCORES):
        assert judge.worst[kind] > 0.2, kind
    for kind in (Operator.ATTEND, Operator.SWIGLU, Operator.ADD, Operator.HEAD, Operator.REDUCE):
        assert judge.worst[kind] > 0.1, kind


@pytest.mark.parametrize("operator", [Operator.NORMALISE, Operator.SWIGLU, Operator.ADD])
def test_two_units_of_fp16_exceed_the_bound(operator: Operator) -> None:
    checkpoint = RandomCheckpoint(SHAPE, named_policy("off"), seed=5)
    judge = Judge(checkpoint)

    def shifted(golden: Golden, operation: Operation, tile: Any, written: Any) -> None:
        if operation.operator is operator:
            judge(golden, operation, tile, {k: v + np.uint16(2) for k, v in written.items()})

    Golden(checkpoint, PRESETS["demo"], observer=shifted).forward(np.arange(12), Sequence(SHAPE))
    assert judge.worst[operator] > 2


def test_a_missing_mask_exceeds_the_bound() -> None:
    class Blind(Judge):
        def visible(self, operation: Any, tile: Any, rows: Any) -> Any:
            return np.ones((len(rows), tile.start + len(tile.tokens)), np.bool_)

        def scores(self, *_: Any) -> float:
            return 0.0

    checkpoint = RandomCheckpoint(SHAPE, named_policy("off"), seed=5)
    judge = Blind(checkpoint)
    Golden(checkpoint, PRESETS["demo"], observer=judge).forward(np.arange(12), Sequence(SHAPE))
    assert judge.worst[Operator.ATTEND] > 10
