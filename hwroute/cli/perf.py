"""``hwroute perf``: the performance model."""

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hwroute.cli.options import board_options, json_option
from hwroute.cli.output import collected, emit
from hwroute.config import Config
from hwroute.memory_config import KVMapping
from hwroute.policy_terms import KVRule

if TYPE_CHECKING:
    from hwroute.sim.performance.generation import Performance


@click.command(epilog="Example: hwroute perf -m llama2-7b --prefill 128 --decode 1024")
@board_options
@click.option("--prefill", default=128, metavar="TOKENS", help="Tokens of the prompt.")
@click.option("--decode", default=1024, metavar="TOKENS", help="Tokens to generate.")
@click.option("--skip", default=0.25, help="Share of sub-layers skipped; 0: no routing.")
@click.option(
    "--kv",
    type=click.Choice(["reuse", "dense", "evict"]),
    show_default="the policy's",
    help="K and V of a token in a layer whose attention it skipped.",
)
@click.option(
    "--kv-mapping",
    type=click.Choice(["token", "interleaved"]),
    show_default="the configuration's",
    help="K and V of a token: whole in one port of HBM, or spread over all ports.",
)
@click.option("--no-kv-buffer", is_flag=True, help="The history buffer keeps nothing.")
@click.option("--no-fused", is_flag=True, help="Reductions are passes of their own.")
@click.option("--seed", default=1, help="Of the decisions.")
@click.option("--layer-correlation", default=0.0, help="Of decisions, between layers, 0 to 1.")
@click.option("--token-correlation", default=0.0, help="Of decisions, between tokens, 0 to 1.")
@click.option(
    "-o",
    "--output",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Also write the result, its tables and pictures there.",
)
@json_option
def perf(
    model: str,
    config: Config,
    device: str,
    prefill: int,
    decode: int,
    skip: float,
    kv: str | None,
    kv_mapping: str | None,
    no_kv_buffer: bool,
    no_fused: bool,
    seed: int,
    layer_correlation: float,
    token_correlation: float,
    output: Path | None,
    as_json: bool,
) -> None:
    """Say how fast a model of any size would run on a board, and where the time goes."""
    from hwroute import api
    from hwroute.sim.performance.report import figures, summary

    if kv_mapping:
        memory = replace(config.memory, kv_mapping=KVMapping(kv_mapping))
        config = replace(config, memory=memory)
    result = api.perf(
        model,
        prefill=prefill,
        decode=decode,
        config=config,
        device=device,
        skip=skip,
        kv=KVRule(kv) if kv else None,
        history_buffer=not no_kv_buffer,
        fused=not no_fused,
        seed=seed,
        layer_correlation=layer_correlation,
        token_correlation=token_correlation,
    )
    fields = figures(result)
    if output:
        _write(output, result, collected(fields, config=config, seed=seed))
    emit(fields, summary(result), as_json=as_json, config=config, seed=seed)


def _write(folder: Path, result: "Performance", record: dict[str, Any]) -> None:
    """Write a result as JSON, its tables as CSV, and its pictures."""
    from hwroute.sim.performance.pictures import draw
    from hwroute.sim.performance.tables import tables

    folder.mkdir(parents=True, exist_ok=True)
    for table in tables(result):
        table.write(folder)
    draw(result, folder)
    text = json.dumps(record, indent=2, allow_nan=False)
    (folder / "result.json").write_text(text + "\n", encoding="utf-8")
