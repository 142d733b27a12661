"""``hwroute generate``: continue a prompt."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hwroute.checkpoint import Tokenizer
from hwroute.cli.options import (
    check_prompt,
    config_option,
    json_option,
    model_option,
    on_option,
    prompt_options,
    routing_options,
)
from hwroute.cli.output import emit, progress
from hwroute.config import Config

if TYPE_CHECKING:
    from hwroute.sim.machine.check import Checked


@click.command(epilog="Example: hwroute generate -p 'First Citizen:' -n 64 --skips")
@model_option
@prompt_options
@click.option("-n", "--tokens", default=64, help="Tokens to generate.")
@on_option("golden", rtl=True)
@routing_options
@click.option("--skips", is_flag=True, help="Draw which token executed which sub-layer.")
@click.option(
    "--skip-picture",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Draw the same as a PNG or SVG file.",
)
@click.option(
    "--trace",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write a record of every operation (golden).",
)
@config_option
@json_option
def generate(
    model: str,
    prompt: str | None,
    prompt_ids: tuple[int, ...] | None,
    tokens: int,
    on: Any,
    routing: bool,
    kv: Any,
    skips: bool,
    skip_picture: Path | None,
    trace: Path | None,
    config: Config,
    as_json: bool,
) -> None:
    """Continue a prompt and say what was skipped."""
    from hwroute import api
    from hwroute.skip_map import skip_map, skip_rates
    from hwroute.skip_picture import save_skip_picture

    check_prompt(prompt, prompt_ids)
    checkpoint = api.load(model)
    with progress("generating", tokens) as advance:
        result = api.generate(
            checkpoint,
            prompt if prompt is not None else list(prompt_ids or ()),
            tokens,
            on=on,
            config=config,
            routing=routing,
            kv=kv,
            trace=trace is not None,
            progress=advance,
        )
    if trace and result.trace:
        result.trace.save(trace)
    rates = skip_rates(result.executed)
    shown = prompt if prompt is not None else ""
    lines = [shown + result.text if result.text is not None else repr(result.token_ids)]
    lines.append(
        f"[{len(result.token_ids)} tokens in {result.seconds:.2f} s on {on}; skipped "
        f"{rates['attention']:.1%} of attention and {rates['ffn']:.1%} of FFN sub-layers]"
    )
    if result.machine:
        lines.append(_machine_line(result.machine))
    lines += [f"[saturated at 65504: {name}]" for name in result.overflowed]
    if skips or skip_picture:
        processed = [*result.prompt_ids, *result.token_ids][: result.executed.shape[2]]
        columns = _columns(checkpoint.tokenizer, processed)
        if skips:
            lines += ["", skip_map(result.executed, columns)]
        if skip_picture:
            save_skip_picture(result.executed, columns, len(result.prompt_ids), skip_picture)
    emit(
        {
            "prompt_ids": result.prompt_ids,
            "token_ids": result.token_ids,
            "text": result.text,
            "skip": rates,
            "overflowed": result.overflowed,
            "seconds": result.seconds,
            "machine": _machine_fields(result.machine) if result.machine else None,
        },
        "\n".join(lines),
        as_json=as_json,
        config=config,
        model_hash=checkpoint.hash,
    )


def _machine_line(machine: "Checked") -> str:
    """Return what a person reads of a run on RTL."""
    cycles, events = machine.run.cycles, machine.lockstep.events
    return (
        f"[RTL: {cycles:,} cycles; {machine.lockstep.instructions:,} instructions, {events:,} "
        f"writes, issues and ends compared with golden, and all memories: 0 mismatches; "
        f"build {machine.build_seconds:.1f} s, run {machine.run_seconds:.1f} s]"
    )


def _machine_fields(machine: "Checked") -> dict[str, Any]:
    """Return the same as JSON has it."""
    return {
        "match": machine.match,
        "instructions": machine.lockstep.instructions,
        "events": machine.lockstep.events,
        "cycles": machine.run.cycles,
        "counters": machine.run.counters,
        "golden_seconds": machine.golden_seconds,
        "build_seconds": machine.build_seconds,
        "run_seconds": machine.run_seconds,
    }


def _columns(tokenizer: Tokenizer | None, ids: list[int]) -> list[str]:
    """Return one printable character a token, a question mark where there is none."""
    from hwroute.skip_map import printable

    texts = [tokenizer.decode([token]) if tokenizer else "?" for token in ids]
    return [printable(text)[0] if len(text) == 1 else "?" for text in texts]
