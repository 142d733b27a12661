"""Programs that the compiler makes, and what it refuses."""

from dataclasses import replace
from typing import Any

import pytest

from hwroute.compiler import compile_program
from hwroute.compiler.piecewise import LEAST_PIECE, PIECES, pieces
from hwroute.compiler.schedule import schedule
from hwroute.config import PRESETS, Config
from hwroute.errors import InputError
from hwroute.isa.fields import Kind, Unit
from hwroute.isa.instruction import Instruction
from hwroute.memory_config import KVMapping
from hwroute.memory_map import Space
from hwroute.models.library import named_policy
from hwroute.operation_list import build
from hwroute.operations import Operator
from hwroute.program import Program
from hwroute.shape import ModelShape

DEMO = PRESETS["demo"]
SMALL = ModelShape(
    dim=256, layers=3, heads=4, kv_heads=2, head_dim=64, ffn_dim=1024, vocab=1000, context=64
)
LARGE = ModelShape(
    dim=4096,
    layers=32,
    heads=32,
    kv_heads=32,
    head_dim=128,
    ffn_dim=11008,
    vocab=32000,
    context=4096,
)
"""Llama-2-7B."""


def compiled(
    policy: str = "skipgpt", config: Config = DEMO, shape: ModelShape = SMALL, **more: Any
) -> Program:
    return compile_program(shape, named_policy(policy), config, model="small", **more)


def body(program: Program, start: str, stop: str) -> list[tuple[int, Instruction]]:
    first, last = program.labels[start], program.labels[stop]
    return list(enumerate(program.instructions))[first:last]


def named(program: Program, name: str) -> list[tuple[str, Instruction]]:
    return [
        (operation, one)
        for operation, one in zip(program.operations, program.instructions, strict=True)
        if one.name == name
    ]


def test_compiling_twice_gives_the_same_program() -> None:
    assert compiled() == compiled()
    assert compiled().hash != compiled("skipgpt-dense-kv").hash


def test_llama2_7b_is_a_program_of_less_than_a_megabyte() -> None:
    program = compiled(config=PRESETS["u280"], shape=LARGE)
    assert program.tile == 64
    assert program.memory.context == 4096
    assert len(program.words) < 1 << 20
    # Weights, 2 x 16 KiB of K and V for 4,096 tokens and 32 layers, and their exponents.
    held = program.memory.size(Space.HBM) * 32 * 32
    assert 5.4e9 < held < 5.7e9


@pytest.mark.parametrize("config", list(PRESETS.values()), ids=list(PRESETS))
@pytest.mark.parametrize("policy", ["skipgpt", "skipgpt-dense-kv", "off"])
def test_every_address_is_inside_its_memory(config: Config, policy: str) -> None:
    program = compiled(policy, config)
    room = {
        Kind.SCRATCHPAD: config.memory.scratchpad_bytes // 128,
        Kind.STATISTIC: config.memory.statistics,
        Kind.PLANE: config.memory.planes,
        Kind.HBM: program.memory.size(Space.HBM),
        Kind.DDR: program.memory.size(Space.DDR),
    }
    for one in program.instructions:
        for name, field in one.opcode.by_name.items():
            assert one[name] < room.get(field.kind, 1 << 32), (one, name)


def test_a_tile_shrinks_until_it_fits() -> None:
    memory = DEMO.memory
    tiles = [
        compiled(config=replace(DEMO, memory=replace(memory, scratchpad_bytes=size << 10))).tile
        for size in (256, 64, 32)
    ]
    assert tiles[0] == DEMO.array.accumulator_rows
    assert tiles == sorted(tiles, reverse=True)
    assert tiles[-1] < tiles[0]


def test_decode_takes_all_heads_at_once_where_they_fit_and_whole_groups_otherwise() -> None:
    def heads(statistics: int) -> set[tuple[int, int]]:
        memory = replace(DEMO.memory, statistics=statistics)
        program = compiled(config=replace(DEMO, memory=memory))
        decode = program.instructions[program.labels["next"] :]
        return {(one["first"], one["heads"]) for one in decode if one.name == "scores"}

    # A head has a maximum, a reference exponent and a sum.
    assert heads(12) == {(0, 4)}
    assert heads(11) == heads(8) == {(0, 2), (2, 2)}
    with pytest.raises(InputError, match=r"memory\.statistics must be at least 8 words .* not 7"):
        heads(7)


def test_prefill_takes_heads_by_pairs() -> None:
    program = compiled()
    passes = [one for _, one in body(program, "prefill", "head") if one.name == "scores"]
    assert {(one["first"], one["heads"]) for one in passes} == {(0, 2), (2, 2)}


def test_the_norm_is_handed_over_in_parts_only_where_it_is_fused() -> None:
    shape = replace(SMALL, dim=1024)
    norms = 2 * shape.layers
    for fused, parts in ((True, 4), (False, 1)):
        program = compiled(shape=shape, config=PRESETS["u280"], fused=fused)
        found = [name for name, _ in named(program, "normalise") if name != "final.normalise"]
        # Prefill and decode have every norm.
        assert len(found) == 2 * norms * parts
        final = [name for name, _ in named(program, "normalise") if name == "final.normalise"]
        assert len(final) == parts


def test_swiglu_is_taken_up_piece_by_piece_only_where_it_is_fused() -> None:
    counts = {fused: len(named(compiled(fused=fused), "swiglu")) for fused in (True, False)}
    assert counts[False] == 2 * SMALL.layers
    assert counts[True] == 2 * SMALL.layers * len(pieces(2 * SMALL.ffn_dim, 128))


@pytest.mark.parametrize(("columns", "multiple"), [(128, 64), (22016, 128), (32000, 128), (90, 64)])
def test_pieces_cover_a_product_once(columns: int, multiple: int) -> None:
    found = pieces(columns, multiple)
    assert [column for part in found for column in part] == list(range(columns))
    assert len(found) <= PIECES
    assert all(part.start % multiple == 0 for part in found)
    assert all(len(part) >= LEAST_PIECE for part in found[:-1])


def test_vectors_are_loaded_in_front_of_the_branch_of_the_sub_layer_before() -> None:
    program = compiled()
    loads = {
        note: index
        for index, note in enumerate(program.notes)
        if program.instructions[index].name == "load" and index < program.labels["head"]
    }
    for layer in range(1, SMALL.layers):
        gain = loads[f"model.layers.{layer}.input_layernorm.weight"]
        ffn = program.labels[f"prefill.layers.{layer - 1}.ffn.end"]
        branches = [
            index
            for index, one in enumerate(program.instructions)
            if one.name == "branch.empty" and one["target"] == ffn
        ]
        assert gain < branches[0]


def test_a_sub_layer_without_a_plane_has_no_branch() -> None:
    branches = {
        policy: sum(one.name == "branch.empty" for one in compiled(policy).instructions)
        for policy in ("off", "skipgpt", "skipgpt-dense-kv", "duo-llm-bypass")
    }
    # Layer 0's attention always executes with SkipGPT; Duo-LLM routes FFNs. Two bodies each.
    assert branches == {"off": 0, "skipgpt": 10, "skipgpt-dense-kv": 10, "duo-llm-bypass": 6}


def test_dense_k_and_v_are_computed_in_front_of_the_branch() -> None:
    for policy, inside in (("skipgpt", True), ("skipgpt-dense-kv", False)):
        planes = {
            one["plane"] != 0
            for name, one in named(compiled(policy), "kv.write")
            if name.startswith("layers.1.")
        }
        assert planes == {inside}


def test_slots_are_dealt_in_front_of_the_branch() -> None:
    program = compiled()
    indices: dict[str, list[int]] = {}
    for index, one in enumerate(program.instructions):
        indices.setdefault(one.name, []).append(index)
    for index in indices["kv.deal"]:
        if program.instructions[index]["plane"]:
            following = program.instructions[index + 1]
            assert following.name == "branch.empty"
            assert following["plane"] == program.instructions[index]["plane"]


def test_a_router_on_the_layer_input_decides_before_attention() -> None:
    operations = build(SMALL, named_policy("skipgpt-layer-input"))
    segments = schedule(operations, decode=False)
    attention = next(one for one in segments if one[-1].name == "layers.1.attention.add")
    assert [one.name for one in attention[:2]] == ["layers.1.ffn.route", "layers.1.ffn.decide"]
    ffn = next(one for one in segments if one[-1].name == "layers.1.ffn.add")
    assert ffn[0].name == "layers.1.ffn.reduce"
    assert sorted(one.index for segment in segments for one in segment) == list(
        range(len(operations))
    )


def test_decode_orders_entries_before_it_computes_its_own() -> None:
    operations = build(SMALL, named_policy("skipgpt"))
    for decode in (True, False):
        for segment in schedule(operations, decode=decode):
            kinds = [one.operator for one in segment]
            if Operator.KV_ORDER in kinds:
                order = kinds.index(Operator.KV_ORDER)
                assert (order < kinds.index(Operator.KV_WRITE)) == decode


def test_only_control_instructions_never_signal_and_every_token_is_taken() -> None:
    """Between boundaries the tokens from one unit to another are as many as are taken."""
    program = compiled()
    given: dict[tuple[Unit, Unit], int] = {}
    for one in program.instructions:
        if one.unit is Unit.CONTROL:
            assert not any(given.values()), "a token must not cross a boundary"
            continue
        for source in one.units("wait"):
            given[source, one.unit] -= 1
            assert given[source, one.unit] >= 0
        for other in one.units("signal"):
            given[one.unit, other] = given.get((one.unit, other), 0) + 1


@pytest.mark.parametrize(
    ("shape", "config", "context", "message"),
    [
        (SMALL, DEMO, 65, r"context must be from 1 to the model's 64, not 65"),
        (SMALL, DEMO, 0, r"context must be from 1 to the model's 64, not 0"),
        (
            replace(SMALL, layers=9),
            DEMO,
            None,
            r"kv\.max_layers must be at least 9, not 8",
        ),
        (
            replace(SMALL, context=512),
            DEMO,
            512,
            r"kv\.max_tokens must be at least 512, not 256",
        ),
        (
            SMALL,
            replace(DEMO, memory=replace(DEMO.memory, scratchpad_bytes=2048)),
            None,
            r"memory\.scratchpad_bytes must be at least \d+ bytes for a tile of one .* not 2048",
        ),
        (
            SMALL,
            replace(DEMO, memory=replace(DEMO.memory, planes=1)),
            None,
            r"memory\.planes must be at least \d for the policy, not 1",
        ),
        (
            replace(SMALL, head_dim=128),
            DEMO,
            None,
            r"kv\.entry_beats must be at least 16 \(K or V of a token\), not 8",
        ),
        (
            replace(SMALL, context=256),
            replace(DEMO, memory=replace(DEMO.memory, hbm_port_bytes=448 << 10)),
            None,
            r"memory\.hbm_port_bytes must be at least \d+ bytes .* 256 tokens\), not 458752; \d+",
        ),
        (
            replace(SMALL, ffn_dim=1 << 16),
            DEMO,
            None,
            r"memory\.hbm_port_bytes must be at least \d+ bytes \(weights, K and V",
        ),
    ],
)
def test_what_does_not_fit_is_refused(
    shape: ModelShape, config: Config, context: int | None, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        compiled(config=config, shape=shape, context=context)


def test_a_policy_that_needs_more_is_refused_by_primitive() -> None:
    with pytest.raises(InputError, match=r"policy 'dr-llm' needs .*window-mean"):
        compiled("dr-llm")


def test_interleaved_k_and_v_are_a_configuration() -> None:
    memory = replace(DEMO.memory, kv_mapping=KVMapping.INTERLEAVED)
    (one,) = (one for _, one in named(compiled(config=replace(DEMO, memory=memory)), "kv.map"))
    assert one.choice("mapping") == "interleaved"


def test_the_context_that_is_said_to_fit_fits_and_no_longer_one() -> None:
    shape = replace(SMALL, context=256)
    config = replace(DEMO, memory=replace(DEMO.memory, hbm_port_bytes=448 << 10))
    with pytest.raises(InputError) as caught:
        compiled(config=config, shape=shape)
    fitting = int(str(caught.value).rpartition("; ")[2].split()[0])
    assert 0 < fitting < 256
    assert compiled(config=config, shape=shape, context=fitting).memory.context == fitting
    with pytest.raises(InputError, match=r"memory\.hbm_port_bytes"):
        compiled(config=config, shape=shape, context=fitting + 1)
