"""What the memory image holds, read back by the layout's own words."""

from pathlib import Path

import numpy as np
import pytest

from hwroute.compiler import compile_program
from hwroute.config import PRESETS
from hwroute.errors import InputError
from hwroute.memory_map import Content
from hwroute.models.image import Image, build_image
from hwroute.models.library import named_policy
from hwroute.models.ops.columns import columns_of
from hwroute.models.random_weights import RandomCheckpoint
from hwroute.models.weights import MachineWeights
from hwroute.program import Program
from hwroute.shape import ModelShape

SHAPE = ModelShape(
    dim=160,
    layers=2,
    heads=2,
    kv_heads=1,
    head_dim=40,
    ffn_dim=200,
    vocab=90,
    context=64,
    qkv_bias=True,
)
CHECKPOINT = RandomCheckpoint(SHAPE, named_policy("skipgpt"), seed=5)
PRESET_NAMES = list(PRESETS)


def made(config: str) -> tuple[Program, Image, MachineWeights]:
    chosen = PRESETS[config]
    program = compile_program(SHAPE, CHECKPOINT.policy, chosen, model="random")
    weights = MachineWeights(CHECKPOINT, chosen.numerics, columns_of(chosen.numerics))
    return program, build_image(program, CHECKPOINT), weights


def weight(program: Program, image: Image, name: str, column: int, row: int) -> int:
    """Return one INT4 weight: beats of 64 by column block, line and column, ports in turn."""
    columns, ports = program.config.array.columns, program.config.kv.hbm_ports
    region = program.memory.region(name)
    lines = 3 if "down_proj" not in name else 4
    block_rows = -(-lines * columns // ports)
    block, inside = divmod(column, columns)
    beat = (row // 64) * columns + inside
    line = region.address + block * block_rows + beat // ports
    byte = int(image.hbm[beat % ports, line, row % 64 // 2])
    nibble = byte >> 4 * (row % 2) & 0xF
    return nibble - 16 if nibble > 7 else nibble


@pytest.mark.parametrize("config", PRESET_NAMES)
def test_weights_are_where_the_layout_says(config: str) -> None:
    program, image, weights = made(config)
    values = weights.int4("lm_head.weight").values
    rng = np.random.default_rng(1)
    for column, row in zip(rng.integers(0, 90, 300), rng.integers(0, 160, 300), strict=True):
        assert weight(program, image, "lm_head.weight", column, row) == values[column, row]


@pytest.mark.parametrize("config", PRESET_NAMES)
def test_gate_and_up_alternate_and_heads_are_padded(config: str) -> None:
    program, image, weights = made(config)
    gate = weights.int4("model.layers.0.mlp.gate_proj.weight").values
    up = weights.int4("model.layers.0.mlp.up_proj.weight").values
    for output in (0, 1, 63, 64, 199):
        for row in (0, 77, 159):
            name = "model.layers.0.mlp.gate_proj.weight"
            assert weight(program, image, name, 2 * output, row) == gate[output, row]
            assert weight(program, image, name, 2 * output + 1, row) == up[output, row]
    q = weights.int4("model.layers.0.self_attn.q_proj.weight").values
    for row in range(0, 160, 7):
        name = "model.layers.0.self_attn.q_proj.weight"
        assert weight(program, image, name, 64 + 39, row) == q[40 + 39, row]
        assert weight(program, image, name, 64 + 40, row) == 0


def test_scales_have_a_line_for_each_group_of_a_block() -> None:
    program, image, weights = made("demo")
    scales = weights.int4("lm_head.weight").scales
    region = program.memory.region("lm_head.weight.scales")
    # 90 outputs are 6 blocks of 16 columns; 160 inputs are 2 groups of 128.
    assert (region.size, scales.shape) == (12, (90, 2))
    lines = image.ddr.view(np.uint16)
    for column in range(90):
        for group in range(2):
            line = lines[region.address + column // 16 * 2 + group]
            assert line[column % 16] == scales[column, group]
            assert not line[16:].any()


def test_tables_biases_and_vectors_are_padded_rows() -> None:
    program, image, weights = made("demo")
    lines = image.ddr.view(np.uint16)
    embedding = program.memory.region("embedding")
    rows = lines[embedding.address : embedding.end].reshape(90, -1)
    np.testing.assert_array_equal(rows[:, :160], weights.vector("model.embed_tokens.weight"))
    assert not rows[:, 160:].any()
    bias = program.memory.region("model.layers.1.self_attn.q_proj.bias")
    padded = lines[bias.address : bias.end]
    expected = weights.vector("model.layers.1.self_attn.q_proj.bias").reshape(2, 40)
    np.testing.assert_array_equal(padded[:, :40], expected)
    rotary = program.memory.region("rotary")
    tables = lines[rotary.address : rotary.end].reshape(64, 2, 64)
    for index, letter in enumerate("qk"):
        cosine, sine = weights.rotary[letter]
        np.testing.assert_array_equal(tables[:, index, 0:40:2], cosine)
        np.testing.assert_array_equal(tables[:, index, 1:40:2], sine)


def test_ids_and_slots_begin_as_zeros() -> None:
    program, image, _ = made("demo")
    for region in program.memory.regions:
        if region.content is Content.IDS:
            assert not image.ddr[region.address : region.end].any()
        if region.content is Content.KV:
            assert not image.hbm[:, region.address : region.end].any()


def test_the_program_lies_behind_everything_else_of_ddr() -> None:
    program, image, _ = made("demo")
    region = program.memory.region("program")
    assert region.content is Content.PROGRAM
    # Four words of 32 bytes a line.
    assert region.size == -(-len(program.instructions) // 4)
    assert region.end == len(image.ddr)
    octets = image.ddr[region.address :].tobytes()
    assert octets[: len(program.words)] == program.words
    assert not any(octets[len(program.words) :])


def test_an_image_survives_the_trip_through_a_file(tmp_path: Path) -> None:
    _, image, _ = made("demo")
    image.save(tmp_path / "tiny.image")
    read = Image.load(tmp_path / "tiny.image")
    assert (read.program, read.model) == (image.program, image.model)
    np.testing.assert_array_equal(read.hbm, image.hbm)
    np.testing.assert_array_equal(read.ddr, image.ddr)


def test_a_truncated_or_foreign_image_is_refused(tmp_path: Path) -> None:
    program, image, _ = made("demo")
    path = tmp_path / "tiny.image"
    image.save(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"image .* must be a whole image file"):
        Image.load(path)
    program.save(path)
    with pytest.raises(InputError, match=r"must be of format 'hwroute-image/1'"):
        Image.load(path)
