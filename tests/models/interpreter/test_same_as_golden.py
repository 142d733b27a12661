"""Every value of an interpreted Program is that of the golden model's operation, bit for bit."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hwroute.compiler import compile_program
from hwroute.config import PRESETS, Config, Variant
from hwroute.models.generate import Tracer, generate
from hwroute.models.golden import Golden
from hwroute.models.image import build_image
from hwroute.models.interpreter import Interpreter, ProgramTracer
from hwroute.models.library import named_policy
from hwroute.models.ops.kv import KVMemory
from hwroute.models.random_weights import RandomCheckpoint
from hwroute.policy import RoutingPolicy
from hwroute.policy_terms import KVRule
from hwroute.shape import ModelShape
from hwroute.trace import Trace

DEMO = PRESETS["demo"]
SHAPE = ModelShape(
    dim=128, layers=3, heads=4, kv_heads=2, head_dim=32, ffn_dim=384, vocab=100, context=64
)
ODD = ModelShape(
    dim=160,
    layers=2,
    heads=3,
    kv_heads=1,
    head_dim=40,
    ffn_dim=200,
    vocab=90,
    context=64,
    qkv_bias=True,
)
"""Nothing of it is a multiple of the lanes."""
WIDE = ModelShape(
    dim=256, layers=2, heads=2, kv_heads=1, head_dim=128, ffn_dim=1024, vocab=600, context=64
)
PROMPT = [int(token) for token in np.random.default_rng(3).integers(0, 90, 21)]
Parts = dict[str, list[Any]]


def traces(
    shape: ModelShape, policy: RoutingPolicy, config: Config, count: int = 6
) -> tuple[Trace, Trace]:
    """Return the traces of operations and of the Program, of the same tiles."""
    checkpoint = RandomCheckpoint(shape, policy, seed=7)
    program = compile_program(shape, policy, config, model="random")
    ours = ProgramTracer()
    made = Interpreter(program, build_image(program, checkpoint), observer=ours)
    theirs = Tracer(checkpoint, config)
    golden = Golden(checkpoint, config, observer=theirs)
    one = made.generate(PROMPT, count)
    other = generate(golden, PROMPT, count, memory=KVMemory(config.kv), tile=program.tile)
    assert one.token_ids == other.token_ids
    np.testing.assert_array_equal(one.executed, other.executed)
    return theirs.trace, ours.trace


class Judge:
    """Put what a Program wrote beside what an operation wrote."""

    def __init__(self, shape: ModelShape):
        self.shape = shape
        self.padded = -(-shape.head_dim // 64) * 64
        self.tokens = np.zeros(0, np.int64)
        self.judges: dict[str, Callable[[Any, Parts], None]] = {
            "embed": lambda record, parts: self.plain(record, parts["to"]),
            "reduce": self.reduce,
            "decide": lambda record, parts: self.plain(record, parts["plane"]),
            "normalise": lambda record, parts: self.plain(record, parts["out"]),
            "matmul": self.matmul,
            "rotate": lambda record, parts: self.heads(record, parts["x"]),
            "kv-order": self.order,
            "scores": self.scores,
            "attend": self.attend,
            "swiglu": lambda record, parts: self.plain(record, parts["out"]),
            "add": self.add,
            "head": lambda record, parts: self.last(record, parts["out"]),
            "argmax": lambda record, parts: self.last(record, parts["token"][-1:]),
        }

    def plain(self, record: Any, parts: list[Any]) -> None:
        (value,) = record.outputs.values()
        found = np.concatenate(parts, axis=-1)
        np.testing.assert_array_equal(found[..., : value.shape[-1]], value, record.operation)
        assert not found[..., value.shape[-1] :].any(), "padding must be zero"

    def last(self, record: Any, parts: list[Any]) -> None:
        (value,) = record.outputs.values()
        np.testing.assert_array_equal(np.concatenate(parts, axis=-1).reshape(-1), value[-1:].flat)

    def heads(self, record: Any, parts: list[Any]) -> None:
        (value,) = record.outputs.values()
        found = np.concatenate(parts, axis=-1)
        padded = found.reshape(len(found), -1, self.padded)
        dense = padded[..., : self.shape.head_dim]
        np.testing.assert_array_equal(dense.reshape(len(found), -1), value.reshape(len(found), -1))
        assert not padded[..., self.shape.head_dim :].any()

    def reduce(self, record: Any, parts: Parts) -> None:
        (found,) = parts["to"]
        values = [value.reshape(len(found), -1) for value in record.outputs.values()]
        np.testing.assert_array_equal(found, np.concatenate(values, axis=1))

    def matmul(self, record: Any, parts: Parts) -> None:
        if record.operation.endswith((".q", ".k", ".v")):
            self.heads(record, parts["out"])
            return
        found = np.concatenate(parts["out"], axis=-1)
        (value,) = record.outputs.values()
        if record.operation.endswith((".gate", ".up")):
            found = found[:, int(record.operation.endswith(".up")) :: 2]
        np.testing.assert_array_equal(found[:, : value.shape[1]], value)

    def order(self, record: Any, parts: Parts) -> None:
        (order,) = record.outputs.values()
        np.testing.assert_array_equal(parts["order"][0], order)
        self.tokens = order[:, 1]

    def scores(self, record: Any, parts: Parts) -> None:
        scores = np.concatenate(parts["scores"], axis=1)
        entries = scores.shape[2]
        tokens = self.tokens
        if entries == len(tokens) + 1:
            tokens = np.append(tokens, record.position)
        np.testing.assert_array_equal(scores, record.outputs["scores"][..., tokens])
        np.testing.assert_array_equal(parts["visible"][0], record.outputs["visible"][:, tokens])
        assert record.outputs["visible"].sum() == parts["visible"][0].sum()
        maximum = np.concatenate(parts["maximum"], axis=1)[..., 0]
        np.testing.assert_array_equal(maximum, record.outputs["maximum"])

    def attend(self, record: Any, parts: Parts) -> None:
        rows = len(record.rows)
        np.testing.assert_array_equal(np.concatenate(parts["sum"], 1), record.outputs["sum"])
        values = [part for part in parts["out"] if part.dtype == np.float32]
        mixed = np.concatenate(values, axis=1).reshape(rows, -1, self.padded)
        found = mixed[..., : self.shape.head_dim]
        np.testing.assert_array_equal(found, record.outputs["mixed"])
        heads = [part for part in parts["out"] if part.dtype == np.uint16]
        np.testing.assert_array_equal(np.concatenate(heads, axis=1), record.outputs["heads"])

    def add(self, record: Any, parts: Parts) -> None:
        (value,) = record.outputs.values()
        found = parts["x"][0]
        rows = self.shape.dim
        assert found.shape[1] >= rows
        self.added.append((record, found[:, :rows], value))

    added: list[Any]


def collected(trace: Trace) -> dict[tuple[str, int], tuple[Any, Parts]]:
    """Return rows and arrays by operation and position of the tile."""
    found: dict[tuple[str, int], tuple[Any, Parts]] = {}
    for record in trace.records:
        # A split product leaves partial sums first.
        outputs = {name: part for name, part in record.outputs.items() if name != "sums"}
        _, parts = found.setdefault((record.operation, record.position), (record.rows, {}))
        for name, part in outputs.items():
            parts.setdefault(name, []).append(part)
    return found


def check(theirs: Trace, ours: Trace, shape: ModelShape) -> dict[str, int]:
    """Compare all operations; return how many there were of each operator."""
    judge, found = Judge(shape), collected(ours)
    judge.added = []
    counts: dict[str, int] = {}
    for record in theirs.records:
        name, position = record.operation, record.position
        if record.operator in ("head", "argmax") or name.startswith("final."):
            # The head of a Program runs for the last row of the last tile, at the next position.
            position += len(record.rows)
            if (name, position) not in found or name.startswith("final."):
                continue
        if record.operator == "kv-write":
            # Slots are dealt where it is decided who computes K and V.
            decided = name.replace("kv.write", "decide"), position
            places = [found[key][1] for key in ((name, position), decided) if key in found]
            (slots,) = (one["slots"][0] for one in places if "slots" in one)
            np.testing.assert_array_equal(slots, record.outputs["slots"], name)
            counts["kv-write"] = counts.get("kv-write", 0) + 1
            continue
        key = name.removesuffix(".up") + ".gate" if name.endswith(".up") else name
        rows, parts = found[key, position]
        judge.judges[record.operator](record, parts)
        if record.operator not in ("head", "argmax", "add"):
            np.testing.assert_array_equal(rows, record.rows, name)
        counts[record.operator] = counts.get(record.operator, 0) + 1
    for record, rows, value in judge.added:
        selected = found[record.operation, record.position][0]
        np.testing.assert_array_equal(rows, value[selected], record.operation)
    return counts


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
POLICIES["skipgpt-evict"] = replace(POLICIES["skipgpt"], kv=KVRule.EVICT)


@pytest.mark.parametrize("policy", list(POLICIES))
def test_every_policy_gives_the_golden_models_values(policy: str) -> None:
    shape = replace(SHAPE, layers=6) if policy == "latched-layers" else SHAPE
    counts = check(*traces(shape, POLICIES[policy], DEMO), shape)
    assert counts["scores"] > 8
    assert counts["kv-write"] > 8
    assert counts["add"] > 20
    assert counts["head"] == 6


@pytest.mark.parametrize("shape", [ODD, WIDE], ids=["odd", "wide"])
@pytest.mark.parametrize("config", ["demo", "mid", "u280"])
def test_every_shape_and_geometry_gives_them_too(shape: ModelShape, config: str) -> None:
    counts = check(*traces(shape, POLICIES["skipgpt"], PRESETS[config]), shape)
    assert counts["attend"] > 5


def test_the_overpacked_columns_give_theirs() -> None:
    overpacked = replace(DEMO, numerics=replace(DEMO.numerics, variant=Variant.OVERPACKED))
    theirs, ours = traces(SHAPE, POLICIES["off"], overpacked, count=2)
    # P.V depends on the order of entries there, so only what comes before the first is equal.
    first = next(one.id for one in theirs.records if one.operator == "attend")
    cut = replace(theirs, records=theirs.records[:first])
    assert check(cut, ours, SHAPE)["matmul"] == 3


def test_one_layer_gives_equal_bits_at_every_geometry() -> None:
    shape = replace(SHAPE, layers=1)
    residuals = []
    for name in PRESETS:
        _, ours = traces(shape, POLICIES["skipgpt"], PRESETS[name], count=3)
        found: dict[int, Any] = {}
        for record in ours.records:
            if record.operation == "layers.0.attention.add":
                for row, values in zip(record.rows, record.outputs["x"], strict=True):
                    found[record.position + int(row)] = values
        residuals.append(np.stack([found[token] for token in sorted(found)]))
    assert len(residuals[0]) == len(PROMPT) + 2
    for other in residuals[1:]:
        np.testing.assert_array_equal(residuals[0], other)
