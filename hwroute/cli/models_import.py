"""``hwroute models import``: a checkpoint of another project becomes a model folder."""

from pathlib import Path

import click

from hwroute.cli.options import json_option
from hwroute.cli.output import emit, progress


@click.command(
    "import", epilog="Example: hwroute models import stories15M.bin --tokenizer tokenizer.bin"
)
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--name", help="What reports call the model.  [default: the folder's name]")
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    show_default="--name, else PATH's name, in the current folder",
    help="Folder to write; it must not exist yet.",
)
@click.option(
    "--quantize",
    type=click.Choice(["none", "rtn", "gptq"]),
    default="rtn",
    help="How matrices that are not in INT4 yet get there: not, to nearest, or by GPTQ.",
)
@click.option(
    "--calibration",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Text that GPTQ keeps the model's products for.",
)
@click.option(
    "--tokenizer",
    metavar="FILE",
    help="ascii, a tokenizer.bin of llama2.c or a tokenizer.model of SentencePiece.",
)
@click.option(
    "--policy",
    metavar="POLICY",
    show_default="the checkpoint's",
    help="Routing policy that its routers are for: a name or a TOML file.",
)
@json_option
def import_(
    path: Path,
    name: str | None,
    output: Path | None,
    quantize: str,
    calibration: Path | None,
    tokenizer: str | None,
    policy: str | None,
    as_json: bool,
) -> None:
    """Make a model folder of the checkpoint at PATH.

    PATH is a Hugging Face folder (Llama, Mistral, Qwen2; safetensors, also in GPTQ's 4 bits), a
    .bin file of llama2.c, or a model folder to quantise again.
    """
    from hwroute.cli.model_summary import lines, summary
    from hwroute.models.importing.convert import Import
    from hwroute.models.library import named_policy

    job = Import(
        path,
        quantize=quantize,
        calibration=calibration,
        tokenizer=tokenizer,
        policy=None if policy is None else named_policy(policy),
    )
    folder = output or Path(name or path.resolve().stem)
    with progress("import", job.steps) as advance:
        model = job.write(folder, name=name, progress=advance)
    fields = summary(model)
    # The hash reads every byte again: only where it is printed.
    model_hash = model.hash if as_json else None
    emit(fields, lines(fields), as_json=as_json, model_hash=model_hash)
