"""What a model would do on a board: the performance model."""

from dataclasses import replace
from typing import TYPE_CHECKING

from hwroute.api.programs import shape_and_policy
from hwroute.compiler import compile_program
from hwroute.config import PRESETS, Config
from hwroute.errors import InputError
from hwroute.models.generate import with_rule
from hwroute.policy_terms import KVRule

if TYPE_CHECKING:
    from hwroute.sim.performance.generation import Performance


def perf(
    model: str,
    *,
    prefill: int,
    decode: int,
    config: Config = PRESETS["u280"],
    device: str = "u280",
    skip: float = 0.25,
    kv: KVRule | None = None,
    history_buffer: bool = True,
    fused: bool = True,
    seed: int = 1,
    layer_correlation: float = 0.0,
    token_correlation: float = 0.0,
) -> "Performance":
    """Simulate a generation on the performance model; no weights are needed.

    Decisions are drawn: every sub-layer is skipped at one rate, but attention of the first layer.

    Parameters
    ----------
    model
        As in `compile_model`.
    prefill, decode
        Tokens of the prompt, and tokens to generate.
    config, device
        The overlay, which says how K and V are mapped, and name or file of the board it is on.
    skip
        Share of sub-layers that are skipped; 0 for a model without routing.
    kv
        Instead of the policy's KV rule.
    history_buffer, fused
        Whether the history buffer keeps anything, and whether reductions run beside what needs or
        makes their operands.
    seed, layer_correlation, token_correlation
        Of the decisions (`hwroute.sim.performance.workload.synthetic`).

    Raises
    ------
    InputError
        No such model or device, a value out of range, or a model that does not fit the overlay.
    """
    from hwroute.sim.device import load_device
    from hwroute.sim.performance.executor import Setup
    from hwroute.sim.performance.generation import measure
    from hwroute.sim.performance.parameters import Parameters
    from hwroute.sim.performance.workload import Rates, synthetic

    if not 0 <= skip < 1:
        raise InputError(f"skip must be from 0 to below 1, not {skip}")
    shape, own, name = shape_and_policy(model)
    policy = with_rule(own, routing=skip > 0, kv=kv)
    program = compile_program(shape, policy, config, model=name, context=prefill + decode)
    workload = synthetic(
        Rates.uniform(shape.layers, skip),
        prompt=prefill,
        generate=decode,
        seed=seed,
        layer_correlation=layer_correlation,
        token_correlation=token_correlation,
    )
    parameters = replace(Parameters(), history_buffer=history_buffer, fused=fused)
    setup = Setup(
        program=program, workload=workload, device=load_device(device), parameters=parameters
    )
    return measure(setup)
