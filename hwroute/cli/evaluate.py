"""``hwroute evaluate``: loss of a model on a text."""

import time
from pathlib import Path
from typing import Any

import click

from hwroute.cli.options import (
    config_option,
    json_option,
    model_option,
    on_option,
    routing_options,
)
from hwroute.cli.output import emit
from hwroute.config import Config
from hwroute.errors import InputError


@click.command(epilog="Example: hwroute evaluate --text models/zoo/tiny/heldout.txt --on golden")
@model_option
@click.option(
    "--text",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="Text file to score.",
)
@click.option("--limit", type=int, help="Score this many tokens from the start only.")
@on_option("reference")
@click.option(
    "--weights",
    type=click.Choice(["float", "int4"]),
    default="float",
    help="Weights of the reference.",
)
@routing_options
@config_option
@json_option
def evaluate(
    model: str,
    text: Path,
    limit: int | None,
    on: Any,
    weights: Any,
    routing: bool,
    kv: Any,
    config: Config,
    as_json: bool,
) -> None:
    """Score a text: nats per token over windows of the model's context.

    Windows do not overlap, each starts fresh, and every token but a window's first is scored.
    """
    from hwroute import api

    checkpoint = api.load(model)
    try:
        ids = api.encode(checkpoint, text.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"text {text} must be a readable text file: {error}") from error
    start = time.perf_counter()
    result = api.evaluate(
        checkpoint, ids[:limit], on=on, weights=weights, config=config, routing=routing, kv=kv
    )
    seconds = time.perf_counter() - start
    emit(
        {
            "nats_per_token": result.nats_per_token,
            "perplexity": result.perplexity,
            "tokens": result.tokens,
            "skip": {"attention": result.attention_skip, "ffn": result.ffn_skip},
            "seconds": seconds,
        },
        f"{result.nats_per_token:.4f} nats per token (perplexity {result.perplexity:.3f}) over "
        f"{result.tokens} tokens; skipped {result.attention_skip:.1%} of attention and "
        f"{result.ffn_skip:.1%} of FFN sub-layers; {seconds:.1f} s",
        as_json=as_json,
        config=config,
        model_hash=checkpoint.hash,
    )
