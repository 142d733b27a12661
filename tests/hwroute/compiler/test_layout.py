"""Memory layout of a model."""

from dataclasses import replace
from itertools import pairwise

import pytest

from hwroute.checkpoint import matrix_shapes
from hwroute.compiler.layout import Layout, with_program
from hwroute.config import PRESETS, Config, KVFormat
from hwroute.errors import InputError
from hwroute.isa.fields import BEAT_BYTES, LINE_BYTES
from hwroute.kv_layout import kv_layout
from hwroute.memory_map import Arrangement, Content, MemoryMap, Space
from hwroute.models.library import model_shape, named_policy
from hwroute.operation_list import build
from hwroute.shape import ModelShape

SMALL = ModelShape(
    dim=128, layers=2, heads=4, kv_heads=2, head_dim=32, ffn_dim=384, vocab=100, context=64
)


def _map(shape: ModelShape, config: Config, context: int) -> MemoryMap:
    return Layout(shape, config, context).build(build(shape, named_policy("skipgpt")))


@pytest.mark.parametrize("space", list(Space))
def test_regions_follow_each_other(space: Space) -> None:
    regions = [
        one for one in _map(SMALL, PRESETS["demo"], 64).regions if one.content.space is space
    ]
    assert regions[0].address == 0
    assert all(a.end == b.address for a, b in pairwise(regions))


def test_every_matrix_is_placed_once_and_whole() -> None:
    config = PRESETS["u280"]
    shape = model_shape("llama2-7b")
    matrices = [one for one in _map(shape, config, 1024).regions if one.content is Content.MATRIX]
    shapes = matrix_shapes(shape)
    assert sorted(name for one in matrices for name in one.tensors) == sorted(shapes)
    # Nothing of Llama-2-7B needs padding, so there is half a byte for each weight.
    placed = sum(one.size for one in matrices) * BEAT_BYTES * config.kv.hbm_ports
    assert placed * 2 == sum(rows * columns for rows, columns in shapes.values())


def test_heads_are_padded_and_gate_and_up_share_a_region() -> None:
    memory = _map(SMALL, PRESETS["demo"], 64)
    q = memory.region("model.layers.0.self_attn.q_proj.weight")
    # 4 heads of 64 outputs, 2 lines of inputs, half a byte each, over 4 ports.
    assert (q.arrangement, q.size) == (Arrangement.HEADS, 4 * 64 * 128 // 2 // 4 // BEAT_BYTES)
    gate = memory.region("model.layers.1.mlp.gate_proj.weight")
    assert gate.arrangement is Arrangement.PAIRED
    assert gate.tensors[1] == "model.layers.1.mlp.up_proj.weight"


def test_a_slot_of_llama2_7b_is_two_vectors_of_8_kib_and_their_exponents() -> None:
    entry = kv_layout(model_shape("llama2-7b"), KVFormat.FP16)
    assert entry.vector_beats * BEAT_BYTES == 8192
    assert entry.slot_bytes == 2 * 8192 + 64


@pytest.mark.parametrize(
    ("field", "what"),
    [("hbm_port_bytes", "weights, K and V"), ("ddr_bytes", "embedding, scales and tables")],
)
def test_what_does_not_fit_is_refused(field: str, what: str) -> None:
    demo = PRESETS["demo"]
    small = replace(demo, memory=replace(demo.memory, **{field: 4096}))
    with pytest.raises(InputError, match=rf"memory.{field} must be at least \d+ bytes \({what}"):
        _map(SMALL, small, 64)


def test_a_program_that_does_not_fit_is_refused() -> None:
    demo = PRESETS["demo"]
    memory = _map(SMALL, demo, 64)
    lines = memory.size(Space.DDR)
    tight = replace(demo, memory=replace(demo.memory, ddr_bytes=(lines + 2) * LINE_BYTES))
    region = with_program(memory, tight, 8).region("program")
    assert (region.address, region.size) == (lines, 2)
    needed = (lines + 3) * LINE_BYTES
    with pytest.raises(
        InputError, match=rf"memory.ddr_bytes must be at least {needed} bytes \(9 instructions"
    ):
        with_program(memory, tight, 9)


def test_an_unknown_region_is_refused() -> None:
    with pytest.raises(InputError, match="not 'embeding'; did you mean 'embedding'"):
        _map(SMALL, PRESETS["demo"], 64).region("embeding")
