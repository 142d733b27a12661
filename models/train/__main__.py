"""``python -m hwroute.models.train``: train the zoo's model."""

from __future__ import annotations

import logging
from pathlib import Path

import click

from hwroute.models.train import require_torch


@click.command()
@click.option(
    "--corpus",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Text to train on, 7-bit ASCII; its last tenth is held out.",
)
@click.option(
    "--out",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for checkpoints and model folders.",
)
@click.option(
    "--stage",
    type=click.Choice(["dense", "reuse", "dense-kv", "all"]),
    default="all",
    show_default=True,
    help="Stage to run; the routed ones start from OUT/dense.pt.",
)
@click.option("--steps", type=click.IntRange(min=1), help="Steps of each stage's schedule.")
@click.option("--seed", type=int, default=1, show_default=True, help="Seed of everything random.")
@click.option("--resume", is_flag=True, help="Continue from the checkpoints in OUT.")
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    default=2,
    show_default=True,
    help="CPU threads; sums, and so weights, depend on their number.",
)
def main(
    corpus: Path, out: Path, stage: str, steps: int | None, seed: int, resume: bool, threads: int
) -> None:
    """Train the dense model, then the two routed ones, and write their model folders."""
    require_torch()
    from hwroute.models.train.stages import Run

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    run = Run(corpus=corpus, out=out, seed=seed, steps=steps, resume=resume, threads=threads)
    try:
        run.stages(stage)
    except (FileNotFoundError, ValueError) as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main(prog_name="python -m hwroute.models.train")
