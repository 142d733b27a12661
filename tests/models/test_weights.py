"""Weights as the machine holds them: rows of Q and K in pairs, FP16 without subnormals."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hwroute.checkpoint import EMBEDDING
from hwroute.config import Numerics
from hwroute.errors import InputError
from hwroute.models.library import named_policy
from hwroute.models.ops.columns import columns_of
from hwroute.models.random_weights import RandomCheckpoint
from hwroute.models.rope import rotary_frequencies
from hwroute.models.weights import MachineWeights
from hwroute.numerics import fp16_to_float64
from hwroute.shape import Llama3Scaling, ModelShape

SHAPE = ModelShape(
    dim=128,
    layers=1,
    heads=4,
    kv_heads=2,
    head_dim=32,
    ffn_dim=128,
    vocab=40,
    context=64,
    qkv_bias=True,
)
SCALING = Llama3Scaling(factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_context=32)
ATTENTION = "model.layers.0.self_attn."


def machine(
    shape: ModelShape = SHAPE, numerics: Numerics | None = None, group: int = 128
) -> tuple[RandomCheckpoint, MachineWeights]:
    checkpoint = RandomCheckpoint(shape, named_policy("off"), seed=2, group=group)
    numerics = numerics or Numerics()
    return checkpoint, MachineWeights(checkpoint, numerics, columns_of(numerics))


def pairs(rows: int, head_dim: int) -> list[int]:
    """Return Hugging Face's row for each row of the machine, spelt out."""
    half = head_dim // 2
    return [
        head * head_dim + pair + part * half
        for head in range(rows // head_dim)
        for pair in range(half)
        for part in range(2)
    ]


@pytest.mark.parametrize("letter", ["q", "k", "v", "o"])
def test_rows_of_queries_and_keys_stand_in_pairs_and_others_do_not(letter: str) -> None:
    checkpoint, weights = machine()
    name = f"{ATTENTION}{letter}_proj.weight"
    original, held = checkpoint.int4(name), weights.int4(name)
    order = list(range(len(original.values)))
    if letter in "qk":
        order = pairs(len(order), SHAPE.head_dim)
    np.testing.assert_array_equal(held.values, original.values[order])
    np.testing.assert_array_equal(held.scales, original.scales[order])
    # And so do the products.
    x = np.eye(128, dtype=np.float16).view(np.uint16)
    products = weights.columns.matmul(x, weights.matrix(name))
    np.testing.assert_array_equal(products, original.dequantised()[order].T)


@pytest.mark.parametrize("letter", ["q", "k", "v"])
def test_biases_follow_their_rows(letter: str) -> None:
    checkpoint, weights = machine()
    name = f"{ATTENTION}{letter}_proj.bias"
    bits = checkpoint.fp16(name)
    order = pairs(len(bits), SHAPE.head_dim) if letter in "qk" else list(range(len(bits)))
    np.testing.assert_array_equal(weights.vector(name), bits[order])


def test_fp16_vectors_hold_no_subnormals_and_no_negative_zero() -> None:
    class Tiny(RandomCheckpoint):
        def fp16(self, name: str) -> Any:
            return np.array([0x03FF, 0x8001, 0x8000, 0x0400, 0xBC00], np.uint16)

    numerics = Numerics()
    checkpoint = Tiny(SHAPE, named_policy("off"), seed=2)
    weights = MachineWeights(checkpoint, numerics, columns_of(numerics))
    assert weights.vector(EMBEDDING).tolist() == [0, 0, 0, 0x0400, 0xBC00]


def test_preparation_is_done_once() -> None:
    _, weights = machine()
    name = f"{ATTENTION}q_proj.weight"
    assert weights.matrix(name) is weights.matrix(name)
    assert weights.vector(EMBEDDING) is weights.vector(EMBEDDING)


@pytest.mark.parametrize("scaling", [None, SCALING])
@pytest.mark.parametrize("head_dim", [32, 64, 128])
def test_rotary_tables_turn_by_the_models_angles(
    head_dim: int, scaling: Llama3Scaling | None
) -> None:
    shape = replace(SHAPE, head_dim=head_dim, rope_scaling=scaling)
    _, weights = machine(shape)
    angles = np.arange(shape.context)[:, None] * rotary_frequencies(shape)
    for letter, scale in (("k", 1.0), ("q", math.log2(math.e) / math.sqrt(head_dim))):
        cosine, sine = (fp16_to_float64(table) for table in weights.rotary[letter])
        assert cosine.shape == (shape.context, head_dim // 2)
        np.testing.assert_allclose(cosine, np.cos(angles) * scale, rtol=2**-10.9, atol=2**-14)
        np.testing.assert_allclose(sine, np.sin(angles) * scale, rtol=2**-10.9, atol=2**-14)


def test_the_scale_of_softmax_is_in_the_table_of_queries_alone() -> None:
    _, weights = machine()
    expected = math.log2(math.e) / math.sqrt(32)
    assert fp16_to_float64(weights.rotary["q"][0])[0, 0] == pytest.approx(expected, rel=2**-11)
    assert fp16_to_float64(weights.rotary["k"][0])[0, 0] == 1.0


def test_weights_with_other_groups_are_refused() -> None:
    _, weights = machine(group=64)
    with pytest.raises(
        InputError,
        match=r"q_proj\.weight must have groups of 128 weights \(numerics\.group\), not 64",
    ):
        weights.matrix(f"{ATTENTION}q_proj.weight")
    _, weights = machine(numerics=Numerics(group=64), group=64)
    assert weights.matrix(f"{ATTENTION}q_proj.weight").scales.shape == (2, 128)


def test_a_reduction_that_fills_no_whole_groups_or_blocks_multiplies_like_a_padded_one() -> None:
    shape = replace(SHAPE, ffn_dim=200)
    checkpoint, weights = machine(shape)
    name = "model.layers.0.mlp.down_proj.weight"
    original = checkpoint.int4(name)
    assert original.scales.shape == (128, 2)
    x = np.random.default_rng(3).standard_normal((5, 200)).astype(np.float16)
    found = weights.columns.matmul(x.view(np.uint16), weights.matrix(name))
    padded = np.pad(x, [(0, 0), (0, 56)]).view(np.uint16)
    values = np.pad(original.values, [(0, 0), (0, 56)])
    expected = weights.columns.matmul_int4(padded, values, original.scales)
    np.testing.assert_array_equal(found, expected)
    exact = x.astype(np.float64) @ original.dequantised().T.astype(np.float64)
    np.testing.assert_allclose(found, exact, atol=2e-3 * np.abs(exact).max())
