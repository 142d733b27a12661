"""Random checkpoints: seeded, of the right shapes, and with outputs as large as inputs."""

from dataclasses import replace

import numpy as np
import pytest

from hwroute.checkpoint import EMBEDDING, HEAD, NORM, matrix_shapes, router_shapes, vector_shapes
from hwroute.models.library import named_policy
from hwroute.models.random_weights import RandomCheckpoint
from hwroute.shape import ModelShape

SHAPE = ModelShape(
    dim=128,
    layers=2,
    heads=4,
    kv_heads=2,
    head_dim=32,
    ffn_dim=256,
    vocab=100,
    context=32,
    qkv_bias=True,
)
POLICY = named_policy("skipgpt")


def checkpoint(seed: int = 3, shape: ModelShape = SHAPE, group: int = 128) -> RandomCheckpoint:
    return RandomCheckpoint(shape, POLICY, seed=seed, group=group)


@pytest.mark.parametrize("group", [64, 128])
def test_matrices_have_their_shape_on_the_int4_grid(group: int) -> None:
    model = checkpoint(group=group)
    for name, shape in matrix_shapes(SHAPE).items():
        weights = model.int4(name)
        assert (weights.values.shape, weights.group) == (shape, group)
        assert (weights.values.min(), weights.values.max()) == (-8, 7)
        assert ((weights.scales >= 0x0400) & (weights.scales < 0x7C00)).all()
        np.testing.assert_array_equal(model.tensor(name), weights.dequantised())


def test_vectors_have_their_shape_and_are_finite() -> None:
    model = checkpoint()
    for name, shape in (vector_shapes(SHAPE) | router_shapes(SHAPE, POLICY)).items():
        bits = model.fp16(name)
        assert (bits.shape, bits.dtype) == (shape, np.uint16)
        assert (bits & 0x7C00 != 0x7C00).all()
        assert model.tensor(name).dtype == np.float32
        np.testing.assert_array_equal(model.tensor(name), bits.view(np.float16))
    assert abs(model.tensor(NORM).mean() - 1) < 0.05


def test_outputs_keep_the_variance_of_inputs() -> None:
    x = np.random.default_rng(1).standard_normal((200, 128)).astype(np.float32)
    assert (x @ checkpoint().tensor(HEAD).T).std() == pytest.approx(1, rel=0.05)


def test_one_seed_gives_one_model_whatever_the_order() -> None:
    names = [*matrix_shapes(SHAPE), *vector_shapes(SHAPE)]
    one, other = checkpoint(), checkpoint()
    forwards = {name: one.tensor(name) for name in names}
    for name in reversed(names):
        np.testing.assert_array_equal(other.tensor(name), forwards[name])


def test_names_and_seeds_make_tensors_different() -> None:
    model = checkpoint()
    up, gate = (model.int4(f"model.layers.0.mlp.{kind}_proj.weight") for kind in ("up", "gate"))
    assert (up.values != gate.values).any()
    assert (checkpoint(seed=4).fp16(EMBEDDING) != model.fp16(EMBEDDING)).any()


def test_the_hash_is_that_of_everything_that_decides_a_weight() -> None:
    others = [
        checkpoint(seed=4),
        checkpoint(group=64),
        checkpoint(shape=replace(SHAPE, vocab=101)),
        RandomCheckpoint(SHAPE, named_policy("off"), seed=3),
    ]
    hashes = {checkpoint().hash, *(other.hash for other in others)}
    assert len(hashes) == 5
    assert checkpoint().hash == checkpoint().hash
    assert (checkpoint().name, checkpoint().tokenizer) == ("random-128x2-3", None)
