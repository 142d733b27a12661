"""What is run for a figure: model, machine, decisions; and single steps at a long context."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from hwroute.compiler import compile_program
from hwroute.config import PRESETS, Config
from hwroute.models.generate import with_rule
from hwroute.models.library import SHAPE_POLICY, model_shape, named_policy
from hwroute.models.ops.kv import KVMemory
from hwroute.policy import RoutingPolicy
from hwroute.policy_terms import KVRule
from hwroute.shape import ModelShape
from hwroute.sim.device import Device, load_device
from hwroute.sim.performance.executor import Machine, Setup
from hwroute.sim.performance.kv_unit import deal
from hwroute.sim.performance.parameters import Parameters
from hwroute.sim.performance.result import Run
from hwroute.sim.performance.units import decided
from hwroute.sim.performance.workload import KINDS, Rates, Workload, synthetic

SKIP = 0.25
"""Share of sub-layers that are skipped: the paper's "about 25 %"."""
SEED = 1
LACKING = ("interleave_heads", "queued_orders")
"""Mechanisms (`hwroute.sim.performance.mechanisms`) that our machine lacks and whose want explains
most of what its attention takes longer than the paper's."""
_SUBLAYER = re.compile(r"layers\.(\d+)\.(attention|ffn)\b")


@dataclass(frozen=True, kw_only=True)
class Case:
    """A model on a machine, with routing at one rate.

    Parameters
    ----------
    name, shape, policy
        Of the model; the policy's KV rule is replaced by `kv`.
    config, board, parameters
        The machine, name or file of the board it is on, and what is free.
    skip
        Share of sub-layers skipped, but attention of the first layer; 0 for no routing.
    kv
        K and V of a token in a layer whose attention it skipped.
    seed
        Of the decisions.
    """

    name: str = "llama2-7b"
    shape: ModelShape = field(default_factory=lambda: model_shape("llama2-7b"))
    policy: RoutingPolicy = field(default_factory=lambda: named_policy(SHAPE_POLICY))
    config: Config = field(default_factory=lambda: PRESETS["u280"])
    board: str = "u280"
    parameters: Parameters = field(default_factory=Parameters)
    skip: float = SKIP
    kv: KVRule = KVRule.REUSE
    seed: int = SEED

    @cached_property
    def device(self) -> Device:
        """The board."""
        return load_device(self.board)

    def fitting(self, lengths: Iterable[int], more: int = 1) -> list[int]:
        """Return those of some lengths behind which there is room for `more` tokens."""
        room = min(self.shape.context, self.config.kv.max_tokens)
        return [length for length in lengths if length + more <= room]

    def with_lacking(self) -> "Case":
        """Return the case with `LACKING` of the machine."""
        mechanisms = replace(self.parameters.mechanisms, **dict.fromkeys(LACKING, True))
        return replace(self, parameters=replace(self.parameters, mechanisms=mechanisms))

    def with_layers(self, layers: int) -> "Case":
        """Return the case with so many of the layers, at most: all are alike."""
        return replace(self, shape=replace(self.shape, layers=min(layers, self.shape.layers)))

    def setup(self, prompt: int, generate: int, *, even: bool = False) -> Setup:
        """Compile the Program and draw decisions.

        Parameters
        ----------
        prompt, generate
            Tokens.
        even
            Decode steps skip each sub-layer at equal distances (`even_steps`).
        """
        routing = self.skip > 0
        policy = with_rule(self.policy, routing=routing, kv=self.kv if routing else None)
        context = prompt + generate
        program = compile_program(self.shape, policy, self.config, model=self.name, context=context)
        rates = Rates.uniform(self.shape.layers, self.skip)
        workload = synthetic(rates, prompt=prompt, generate=generate, seed=self.seed)
        return Setup(
            program=program,
            workload=even_steps(workload, self.skip, self.seed) if even else workload,
            device=self.device,
            parameters=self.parameters,
        )


def even_steps(workload: Workload, skip: float, seed: int) -> Workload:
    """Return a workload whose decode steps skip each sub-layer at equal distances in time.

    Every step skips as many layers as every other, and a few steps have the rate itself, not one
    that a draw happens to have. Which layers fall together is still drawn.
    """
    executed = workload.executed.copy()
    layers, steps = len(executed), np.arange(workload.tokens - workload.prompt)
    rng = np.random.default_rng(seed)
    begin = np.stack([rng.permutation(layers) for _ in KINDS], axis=1)[..., None] / layers
    executed[:, :, workload.prompt :] = (begin + skip * steps) % 1 >= skip
    executed[0, 0] = True
    text = f"{workload.assumption}; decode steps skip at equal distances"
    return replace(workload, executed=executed, assumption=text)


def decode_steps(setup: Setup) -> list[Run]:
    """Run the steps of a short answer behind a prompt whose slots are dealt, not timed."""
    kv, workload = dealt(setup), setup.workload
    return [
        Machine(setup, kv=kv).step(position) for position in range(workload.prompt, workload.tokens)
    ]


def dealt(setup: Setup) -> KVMemory:
    """Return the K/V memory with slots for the prompt, given as its tiles give them."""
    program, workload = setup.program, setup.workload
    kv = KVMemory(program.config.kv)
    body = program.instructions[program.labels["prefill"] : program.labels["next"]]
    parts = [one for one in body if one.name in ("decide", "kv.deal")]
    for start in range(0, workload.prompt, program.tile):
        rows = min(program.tile, workload.prompt - start)
        planes = {0: np.ones(rows, np.bool_)}
        for one in parts:
            if one.name == "decide":
                planes[one["to"]] = decided(one, start, rows, workload)
            else:
                deal(kv, one, start, rows, np.flatnonzero(planes[one["plane"]]))
    return kv


def sublayer_cycles(setup: Setup, run: Run) -> dict[tuple[int, str], float]:
    """Return the cycles of each layer and kind of sub-layer, over all tiles of the run.

    A sub-layer ends with the last instruction of its operations; it lasts from the end of the one
    before, or of the embedding, on. What is skipped has its router alone.
    """
    ends: dict[tuple[int, int, str], float] = {}
    for event in run.events:
        found = _SUBLAYER.match(setup.program.operations[event.index])
        layer, kind = (int(found[1]), found[2]) if found else (-1, "")
        if found or setup.program.operations[event.index] == "embed":
            key = (event.position, layer, kind)
            ends[key] = max(ends.get(key, 0.0), event.retired)
    cycles: dict[tuple[int, str], float] = {}
    before = run.start
    for (_, layer, kind), end in sorted(ends.items(), key=lambda item: item[1]):
        cycles[layer, kind] = cycles.get((layer, kind), 0.0) + end - before
        before = end
    cycles.pop((-1, ""), None)
    return cycles
