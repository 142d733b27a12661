"""The Program of one decode step of a layer at full size, and its image.

Two layers of Llama-2-7B's shape: the attention of layer 0 fills the history buffer, from which that
of layer 1 reads what it reuses.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from hwroute.compiler.assemble import assemble
from hwroute.compiler.compile import lower
from hwroute.compiler.draft import Draft
from hwroute.compiler.frame import begin, put
from hwroute.compiler.layout import with_program
from hwroute.config import PRESETS
from hwroute.kv_layout import kv_layout
from hwroute.models.image import Image, build_image
from hwroute.models.library import SHAPE_POLICY, model_shape, named_policy
from hwroute.models.random_weights import RandomCheckpoint
from hwroute.program import Program
from hwroute.sim.machine.history import history, with_entries

CONFIG = PRESETS["u280"]
SHAPE = replace(model_shape("llama2-7b"), layers=2, vocab=256, context=576)
"""Two layers; a small head, which is no part of a layer; room for one token more."""
CONTEXT = 512
"""Tokens that are attended to, the new one included."""
SKIPPING = 0.25
"""Share of the earlier tokens that skipped the attention of layer 1."""
SEED = 1
MODEL = RandomCheckpoint(SHAPE, named_policy(SHAPE_POLICY), seed=SEED)
TOKEN = 4
"""The first id whose token does what `EXECUTED` says."""
EXECUTED = [[True, False], [True, True]]
"""Attention and FFN of each layer: all of layer 1, and of layer 0 the attention alone."""


def executing() -> NDArray[np.bool_]:
    """Return which of the earlier tokens executed the attention of layer 1."""
    tokens = np.ones(CONTEXT - 1, np.bool_)
    order = np.random.default_rng(SEED).permutation(len(tokens))
    tokens[order[: round(SKIPPING * CONTEXT)]] = False
    return tokens


def step_program() -> Program:
    """Return a Program of one decode step behind a long sequence."""
    lowered = lower(SHAPE, MODEL.policy, CONFIG)
    target = lowered.target
    drafts = [
        begin(target),
        *history(target, executing(), lowered.tile),
        Draft(name="set", values={"d": "rows", "value": 1}, labels=["next"]),
        *lowered.bodies.decode,
        Draft(name="add", values={"d": "position", "a": "position", "b": "rows"}),
        *lowered.bodies.head,
        put(target),
        Draft(name="halt", values={}),
    ]
    target = replace(target, memory=with_program(target.memory, CONFIG, len(drafts)))
    return assemble(drafts, target, lowered.tile, model=MODEL.name, policy=MODEL.policy.name)


def step_image(program: Program) -> Image:
    """Return what its memories begin with: weights, and K and V of the long sequence."""
    kv, entry = program.memory.region("kv"), kv_layout(SHAPE, CONFIG.numerics.kv_format)
    image = build_image(program, MODEL)
    return with_entries(image, kv.address, entry, kv.size // entry.slot_beats, seed=SEED)
