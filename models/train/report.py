"""``python -m hwroute.models.train.report``: measure model folders in PyTorch."""

from __future__ import annotations

from pathlib import Path

import click

from hwroute.models.train import require_torch

SEED = 0
"""Seed of the permuted decisions."""


@click.command()
@click.argument("zoo", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--text",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Held-out text; ZOO/tiny/heldout.txt unless given.",
)
def main(zoo: Path, text: Path | None) -> None:
    """Print the loss and skip rates of the model folders in ZOO, as Markdown."""
    require_torch()
    from hwroute.models.train.evaluate import markdown

    click.echo(markdown(zoo, text or zoo / "tiny" / "heldout.txt", SEED))


if __name__ == "__main__":
    main(prog_name="python -m hwroute.models.train.report")
