"""``hwroute compile``: from a model's shape and routing to the overlay's program."""

from pathlib import Path

import click

from hwroute.cli.options import config_option, json_option, shape_option
from hwroute.cli.program import emit_program, program_output
from hwroute.config import Config


@click.command(
    "compile", epilog="Example: hwroute compile -m llama2-7b -c u280 -o build/llama2-7b.program"
)
@shape_option("tiny")
@config_option
@program_output
@click.option(
    "--context",
    type=click.IntRange(min=1),
    metavar="N",
    show_default="as many as fit model and overlay",
    help="Tokens to make room for.",
)
@click.option(
    "--policy",
    metavar="POLICY",
    show_default="the model's; skipgpt for a shape",
    help="Name or TOML file of a routing policy.",
)
@click.option(
    "--image",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also write what HBM and DDR hold: weights, tables (needs INT4 weights).",
)
@click.option(
    "--picture",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also draw the scratchpad in a layer of prefill, as PNG or SVG.",
)
@json_option
def compile_(
    model: str,
    config: Config,
    output: Path,
    context: int | None,
    policy: str | None,
    image: Path | None,
    picture: Path | None,
    as_json: bool,
) -> None:
    """Compile a model to the overlay's program; no weights are needed but for --image."""
    from hwroute import api
    from hwroute.models.library import named_policy

    routing = named_policy(policy) if policy is not None else None
    program = api.compile_model(model, config=config, policy=routing, context=context)
    program.save(output)
    if image is not None:
        api.make_image(program, api.load(model)).save(image)
    if picture is not None:
        api.draw_scratchpad(model, picture, config=config, policy=routing, context=context)
    emit_program(program, output, as_json=as_json)
