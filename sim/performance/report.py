"""What a measured generation says, as text."""

from dataclasses import fields

from hwroute.isa.fields import QUEUED
from hwroute.sim.performance.generation import Performance
from hwroute.sim.performance.parameters import Parameters


def summary(result: Performance) -> str:
    """Return the figures, and below them what they rest on: decisions and free parameters."""
    setup, traffic = result.setup, result.traffic
    workload, count = setup.workload, max(1, len(result.cycles))
    attention, ffn = workload.skipped
    kinds = ", ".join(
        f"{kind} {size / count / 1e6:.3f}" for kind, size in sorted(traffic.kinds.items())
    )
    program, device = setup.program, setup.device
    speed, overall = result.tokens_per_second, result.tokens_per_second_overall
    share, hits = result.bandwidth_efficiency, result.kv_hit_share
    simulated = f"{len(result.steps)} of {len(result.cycles)} steps simulated"
    lines = [
        f"{program.model} on {device.name} ({program.config.name})",
        f"prompt of {workload.prompt} tokens, {workload.generate} generated",
        f"prompt {result.prefill_seconds:.4f} s, decode {result.decode_seconds:.4f} s",
        f"{speed:.2f} token/s in decode, {overall:.2f} token/s with the prompt's time",
        f"{simulated}; two standard errors of the decode time: {result.error:.2%}",
        f"HBM moves {share:.1%} of its peak; the history buffer serves {hits:.1%} of K and V",
        f"MB of a step: {kinds}",
        *_units(result),
        f"assumption: {workload.assumption}",
        f"skipped: {attention:.1%} of attention, {ffn:.1%} of FFN",
        f"free parameters: {_values(setup.parameters)}",
    ]
    return "\n".join(lines)


def _units(result: Performance) -> list[str]:
    """Return how busy each unit is over the simulated steps."""
    if not result.steps:
        return []
    runs = list(result.steps.values())
    cycles = sum(run.cycles for run in runs)
    shares = []
    for unit in QUEUED:
        busy = sum(run.busy()[unit] for run in runs) / cycles
        waits = sum(run.waits()[unit] for run in runs) / cycles
        shares.append(f"{unit.name.lower()} {busy:.1%} / {waits:.1%}")
    return [f"units busy / waiting for others: {', '.join(shares)}"]


def _values(parameters: Parameters) -> str:
    return ", ".join(f"{item.name} {getattr(parameters, item.name)}" for item in fields(parameters))
