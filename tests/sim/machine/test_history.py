"""Instructions that make the state of a long sequence leave what a prefill leaves."""

import numpy as np
import pytest

from hwroute.compiler.assemble import assemble
from hwroute.compiler.compile import Lowered, lower
from hwroute.compiler.context import Target
from hwroute.compiler.draft import Draft
from hwroute.compiler.frame import begin
from hwroute.config import PRESETS
from hwroute.isa.fields import BEAT_BYTES
from hwroute.memory_map import Space
from hwroute.models.image import Image
from hwroute.models.interpreter import Interpreter
from hwroute.models.library import named_policy
from hwroute.models.ops.kv_directory import KVDirectory
from hwroute.numerics import decode_fp16
from hwroute.shape import ModelShape
from hwroute.sim.machine.history import history, with_entries

SHAPE = ModelShape(
    dim=128, layers=2, heads=4, kv_heads=2, head_dim=64, ffn_dim=128, vocab=150, context=128
)
CONFIG = PRESETS["demo"]


@pytest.fixture(scope="module")
def lowered() -> Lowered:
    return lower(SHAPE, named_policy("skipgpt"), CONFIG)


@pytest.mark.parametrize(
    ("tokens", "rate", "most"), [(1, 0.0, 1), (90, 0.3, 8), (90, 0.0, 16), (77, 0.97, 16)]
)
def test_every_token_has_what_its_decisions_say(
    lowered: Lowered, tokens: int, rate: float, most: int
) -> None:
    executed = np.random.default_rng(3).random(tokens) >= rate
    target = lowered.target
    drafts = [begin(target), *history(target, executed, 16), Draft(name="halt", values={})]
    program = assemble(drafts, target, 16, model="none", policy="none")
    rows = [one["value"] for one in program.instructions if one.name == "set"][1:]
    assert sum(rows) == tokens
    assert max(rows) == most
    interpreter = Interpreter(program, _image(target, program.hash))
    interpreter.generate([0] * tokens, 1)
    assert (interpreter.executed[1, 0, :tokens] == executed).all()

    expected = KVDirectory(CONFIG.kv)
    start = 0
    for count in rows:
        tile = range(start, start + count)
        for token in tile:
            expected.write(0, token)
        for token in tile:
            (expected.write if executed[token] else expected.skip)(1, token)
        start += count
    found = interpreter._kv.memory.directory
    for layer in range(2):
        assert found.entries(layer, tokens) == expected.entries(layer, tokens)


def test_slots_hold_an_entry_each(lowered: Lowered) -> None:
    target = lowered.target
    entry, base, slots = target.entry, target.memory.region("kv").address, 3
    empty = _image(target, "none")
    image = with_entries(empty, base, entry, slots, seed=5)
    assert not empty.hbm.any(), "the image that was given stays as it was"
    region = image.hbm[:, base : base + slots * entry.slot_beats]
    assert not image.hbm[:, :base].any()
    assert not image.hbm[:, base + slots * entry.slot_beats :].any()
    vector = entry.vector_beats * BEAT_BYTES
    for slot in region.reshape(-1, entry.slot_bytes):
        keys, values = slot[:vector].view(np.float16), slot[-vector:].view(np.float16)
        for part in (keys, values):
            assert 0.8 < part.std() < 1.2
        lines = values.view(np.uint16).reshape(entry.vector_lines, -1)
        largest = decode_fp16(lines)[1].max(axis=1)
        exponents = slot[vector:-vector]
        assert exponents[: entry.vector_lines].tolist() == largest.tolist()
        assert not exponents[entry.vector_lines :].any()


def _image(target: Target, program: str) -> Image:
    ports = target.config.kv.hbm_ports
    return Image(
        hbm=np.zeros((ports, target.memory.size(Space.HBM), BEAT_BYTES), np.uint8),
        ddr=np.zeros((target.memory.size(Space.DDR), 128), np.uint8),
        program=program,
        model="none",
    )
