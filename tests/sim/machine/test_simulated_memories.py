"""Simulated memories end where a host has no room for more; an image must fit them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hwroute.compiler import compile_program
from hwroute.config import PRESETS
from hwroute.errors import InputError
from hwroute.isa.fields import BEAT_BYTES
from hwroute.models.image import build_image
from hwroute.models.library import named_policy
from hwroute.models.random_weights import RandomCheckpoint
from hwroute.shape import ModelShape
from hwroute.sim.machine.harness import LARGEST_DDR, LARGEST_HBM, memories
from hwroute.sim.machine.host import prepare

SHAPE = ModelShape(
    dim=128, layers=1, heads=2, kv_heads=1, head_dim=64, ffn_dim=128, vocab=64, context=64
)


def test_small_memories_are_whole_and_large_ones_end() -> None:
    for name, ddr, hbm in (
        ("demo", PRESETS["demo"].memory.ddr_bytes, PRESETS["demo"].memory.hbm_port_bytes),
        ("u280", LARGEST_DDR, LARGEST_HBM),
    ):
        config = PRESETS[name]
        sizes = {key: beats * port.data_bytes for key, (port, beats) in memories(config).items()}
        ports = {f"hbm_{port}": hbm for port in range(config.kv.hbm_ports)}
        assert sizes == {"ddr": ddr, **ports}


def test_an_image_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    checkpoint = RandomCheckpoint(SHAPE, named_policy("skipgpt"), seed=1)
    program = compile_program(SHAPE, checkpoint.policy, PRESETS["u280"], model="random")
    image = build_image(program, checkpoint)
    prepare(program, image, [1], tmp_path)
    ports = len(image.hbm)
    larger = np.zeros((ports, LARGEST_HBM // BEAT_BYTES + 1, BEAT_BYTES), np.uint8)
    with pytest.raises(InputError, match=f"at most {LARGEST_HBM} bytes in hbm_0, as much as is"):
        prepare(program, replace(image, hbm=larger), [1], tmp_path)
