"""``python -m hwroute.models.study``: measure the numerics and write the results."""

import json
import shlex
import sys
from pathlib import Path

import click

from hwroute import provenance
from hwroute.config import load
from hwroute.errors import HwrouteError, InputError
from hwroute.models.folder import ModelFolder
from hwroute.models.library import model_path
from hwroute.models.study import plot, report
from hwroute.models.study.capture import capture
from hwroute.models.study.run import SEEDS, run

PROGRAM = "python -m hwroute.models.study"


@click.command(epilog=f"Example: {PROGRAM} --out docs/results")
@click.option(
    "--out",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for numerics.json, numerics.md, numerics.png and numerics.svg.",
)
@click.option("-m", "--model", default="tiny", show_default=True, help="Zoo name or model folder.")
@click.option(
    "--text",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Text that the model runs; heldout.txt of its folder unless given.",
)
@click.option(
    "--windows",
    type=click.IntRange(min=1),
    default=4,
    show_default=True,
    help="Windows of the model's context, from the start of the text.",
)
@click.option("--seed", type=int, default=1, show_default=True, help=f"First of {SEEDS} seeds.")
@click.option(
    "--samples",
    type=click.IntRange(min=SEEDS),
    default=300_000,
    show_default=True,
    help=f"Dot products of each set of data, over all seeds; a multiple of {SEEDS}.",
)
def main(out: Path, model: str, text: Path | None, windows: int, seed: int, samples: int) -> None:
    """Compare designs of a PE column, and sweep the elementary functions."""
    try:
        _study(out, model, text, windows, seed, samples)
    except HwrouteError as error:
        click.echo(f"{PROGRAM}: {error}", err=True)
        sys.exit(error.exit_code)


def _study(out: Path, model: str, text: Path | None, windows: int, seed: int, samples: int) -> None:
    if samples % SEEDS:
        raise InputError(f"--samples must be a multiple of {SEEDS}, not {samples}")
    checkpoint = ModelFolder(model_path(model))
    window = checkpoint.shape.context
    ids = _tokens(checkpoint, text or checkpoint.path / "heldout.txt", windows * window)
    config = load("demo")
    captured = capture(checkpoint, config, ids, windows=windows, window=window)
    study = run(captured, seed=seed, samples=samples)
    command = [*PROGRAM.split(), "--out", str(out), "--model", model]
    command += ["--text", str(text)] if text else []
    command += ["--windows", str(windows), "--seed", str(seed), "--samples", str(samples)]
    record = provenance.collect(
        command=command, config=config, model_hash=checkpoint.hash, seed=seed
    )
    tables = report.to_markdown(
        study, command=shlex.join(command), model=checkpoint.name, windows=windows, window=window
    )
    out.mkdir(parents=True, exist_ok=True)
    values = {**report.to_json(study), "provenance": record}
    (out / "numerics.json").write_text(json.dumps(values, indent=2, allow_nan=False) + "\n")
    (out / "numerics.md").write_text(tables)
    plot.draw(study, out / "numerics.png", out / "numerics.svg")


def _tokens(checkpoint: ModelFolder, path: Path, count: int) -> list[int]:
    """Return the first `count` tokens of a text."""
    if checkpoint.tokenizer is None:
        raise InputError(f"{checkpoint.path}: must have a tokeniser to read a text")
    try:
        ids = checkpoint.tokenizer.encode(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} must be a readable text: {error}") from error
    if len(ids) < count:
        raise InputError(f"{path} must have at least {count} tokens, not {len(ids)}")
    return ids[:count]


if __name__ == "__main__":
    main(prog_name=PROGRAM)
