"""What a measured generation says, as plain values and as text."""

from dataclasses import asdict, fields
from typing import Any

from hwroute.column_format import LANES
from hwroute.config import Config
from hwroute.sim.performance.generation import Performance
from hwroute.sim.performance.metrics import bound, hbm_rate, kv_figures, utilization
from hwroute.sim.performance.parameters import Parameters
from hwroute.sim.performance.tables import tables

BOUND_OF = {
    "hbm": "HBM moving the same bytes as long sequential reads, without a pause",
    "ddr": "DDR moving the same bytes without a pause",
    "array": "the array making the same products on all multipliers, without a pause",
}


def figures(result: Performance) -> dict[str, Any]:
    """Return the result as JSON has it; `docs/cli.md` defines each key."""
    attention, ffn = result.setup.workload.skipped
    limit = bound(result)
    return {
        "tokens_per_second": result.tokens_per_second,
        "tokens_per_second_with_prefill": result.tokens_per_second_overall,
        "prefill_seconds": result.prefill_seconds,
        "decode_seconds": result.decode_seconds,
        "bandwidth_efficiency": result.bandwidth_efficiency,
        "peak_gb_s": result.peak / 1e9,
        "bytes_per_token": result.bytes_per_token,
        "hbm_bytes_per_token": result.hbm_bytes_per_token,
        "kv": asdict(kv_figures(result)),
        "utilization": utilization(result),
        "bound": {
            "tokens_per_second": limit.tokens_per_second,
            "by": limit.by,
            "meaning": BOUND_OF[limit.by],
            "hbm_gb_s": hbm_rate(result) / 1e9,
        },
        "overlay": overlay_sizes(result.setup.program.config),
        "bytes": dict(result.traffic.kinds),
        "steps_simulated": len(result.steps),
        "error": result.error,
        "skip": {"attention": attention, "ffn": ffn},
        "assumption": result.setup.workload.assumption,
    }


def overlay_sizes(config: Config) -> dict[str, int]:
    """Return what an overlay costs: multipliers, ports of HBM, bytes of the history buffer."""
    kv = config.kv
    return {
        "multipliers": config.array.columns * LANES,
        "hbm_ports": kv.hbm_ports,
        "kv_buffer_bytes": kv.buffer_tokens * 2 * kv.entry_beats * kv.beat_bits // 8,
    }


def summary(result: Performance) -> str:
    """Return the figures, where time and bytes go, and what it rests on."""
    setup, kv, limit = result.setup, kv_figures(result), bound(result)
    workload, program, device = setup.workload, setup.program, setup.device
    attention, ffn = workload.skipped
    simulated = f"{len(result.steps)} of {len(result.cycles)} steps simulated"
    speed, overall = result.tokens_per_second, result.tokens_per_second_overall
    read, peak = result.hbm_bytes_per_token / 1e6, result.peak / 1e9
    efficiency = (
        f"bandwidth efficiency {result.bandwidth_efficiency:.1%}: "
        f"{read:,.1f} MB a token read from HBM, of a peak of {peak:.1f} GB/s"
    )
    attended = (
        f"K and V: {kv.delivered_gb_s:.1f} GB/s handed to the array, {kv.hit_share:.1%} of it from "
        f"the history buffer; HBM at {kv.physical_utilization:.1%} of its peak meanwhile; "
        f"{kv.storage_saved:.1%} of storage saved"
    )
    lines = [
        f"{program.model} on {device.name} ({program.config.name})",
        f"prompt of {workload.prompt} tokens, {workload.generate} generated",
        f"prompt {result.prefill_seconds:.4f} s, decode {result.decode_seconds:.4f} s",
        f"{speed:.2f} token/s in decode, {overall:.2f} token/s with the prompt's time",
        f"{simulated}; two standard errors of the decode time: {result.error:.2%}",
        f"bound {limit.tokens_per_second:.2f} token/s: {BOUND_OF[limit.by]}",
        efficiency,
        attended,
        *("\n" + table.text() for table in tables(result)),
        "",
        f"assumption: {workload.assumption}",
        f"skipped: {attention:.1%} of attention, {ffn:.1%} of FFN",
        f"free parameters: {_values(setup.parameters)}",
    ]
    return "\n".join(lines)


def _values(parameters: Parameters) -> str:
    return ", ".join(f"{item.name} {getattr(parameters, item.name)}" for item in fields(parameters))
