"""``hwroute perf``: the performance model."""

from typing import TYPE_CHECKING, Any

import click

from hwroute.cli.options import json_option
from hwroute.cli.output import emit
from hwroute.config import load
from hwroute.policy_terms import KVRule

if TYPE_CHECKING:
    from hwroute.sim.performance.generation import Performance


@click.command(epilog="Example: hwroute perf -m llama2-7b --prefill 128 --decode 1024")
@click.option(
    "-m",
    "--model",
    default="llama2-7b",
    metavar="MODEL",
    help="Zoo name, model folder, name of a shape (hwroute models list) or config.json.",
)
@click.option("-c", "--config", default="u280", metavar="CONFIG", help="Name or TOML file.")
@click.option("-d", "--device", default="u280", metavar="DEVICE", help="Board, or a TOML file.")
@click.option("--prefill", default=128, metavar="TOKENS", help="Tokens of the prompt.")
@click.option("--decode", default=1024, metavar="TOKENS", help="Tokens to generate.")
@click.option("--skip", default=0.25, help="Share of sub-layers skipped; 0: no routing.")
@click.option(
    "--kv",
    type=click.Choice(["reuse", "dense", "evict"]),
    show_default="the policy's",
    help="K and V of a token in a layer whose attention it skipped.",
)
@click.option("--no-kv-buffer", is_flag=True, help="The history buffer keeps nothing.")
@click.option("--seed", default=1, help="Of the decisions.")
@click.option("--layer-correlation", default=0.0, help="Of decisions, between layers, 0 to 1.")
@click.option("--token-correlation", default=0.0, help="Of decisions, between tokens, 0 to 1.")
@json_option
def perf(
    model: str,
    config: str,
    device: str,
    prefill: int,
    decode: int,
    skip: float,
    kv: str | None,
    no_kv_buffer: bool,
    seed: int,
    layer_correlation: float,
    token_correlation: float,
    as_json: bool,
) -> None:
    """Say how fast a model of any size would run on a board, and where the time goes."""
    from hwroute import api
    from hwroute.sim.performance.report import summary

    overlay = load(config)
    result = api.perf(
        model,
        prefill=prefill,
        decode=decode,
        config=overlay,
        device=device,
        skip=skip,
        kv=KVRule(kv) if kv else None,
        history_buffer=not no_kv_buffer,
        seed=seed,
        layer_correlation=layer_correlation,
        token_correlation=token_correlation,
    )
    emit(_fields(result), summary(result), as_json=as_json, config=overlay, seed=seed)


def _fields(result: "Performance") -> dict[str, Any]:
    """Return the result as JSON has it."""
    attention, ffn = result.setup.workload.skipped
    return {
        "tokens_per_second": result.tokens_per_second,
        "tokens_per_second_with_prefill": result.tokens_per_second_overall,
        "prefill_seconds": result.prefill_seconds,
        "decode_seconds": result.decode_seconds,
        "bandwidth_efficiency": result.bandwidth_efficiency,
        "bytes_per_token": result.bytes_per_token,
        "kv": {"hit_share": result.kv_hit_share},
        "bytes": dict(result.traffic.kinds),
        "steps_simulated": len(result.steps),
        "error": result.error,
        "skip": {"attention": attention, "ffn": ffn},
        "assumption": result.setup.workload.assumption,
    }
