"""How commands print results and progress."""

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import click

from hwroute import provenance
from hwroute.config import Config

BROKEN_PIPE = 141
"""What a shell reports for a program that SIGPIPE ended."""


def emit(
    result: Mapping[str, object],
    text: str,
    *,
    as_json: bool,
    config: Config | None = None,
    model_hash: str | None = None,
    seed: int | None = None,
    tools: Mapping[str, str] | None = None,
) -> None:
    """Print a result on stdout: as text, or as one JSON object with its provenance.

    Parameters
    ----------
    result
        Plain values. Ratios are fractions, a key in per cent ends in ``_percent``, other keys
        carry their unit.
    text
        What is printed without ``--json``.
    as_json
        The value of ``--json``.
    config, model_hash, seed, tools
        See `hwroute.provenance.collect`.
    """
    if not as_json:
        _print(text)
        return
    record = collected(result, config=config, model_hash=model_hash, seed=seed, tools=tools)
    _print(json.dumps(record, indent=2, allow_nan=False))


def collected(
    result: Mapping[str, object],
    *,
    config: Config | None = None,
    model_hash: str | None = None,
    seed: int | None = None,
    tools: Mapping[str, str] | None = None,
) -> dict[str, object]:
    """Return a result of the running command with its provenance, as `emit` prints it."""
    record = provenance.collect(
        command=click.get_current_context().find_root().obj,
        config=config,
        model_hash=model_hash,
        seed=seed,
        tools=tools,
    )
    return {**result, "provenance": record}


def _print(text: str) -> None:
    """Print on stdout; end quietly where its reader has seen enough, as in ``| head``."""
    try:
        click.echo(text)
    except BrokenPipeError:
        # The interpreter flushes stdout once more at its end and must not fail there.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(BROKEN_PIPE)


@contextmanager
def progress(description: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show a bar on stderr and yield the function that advances it by a number of steps.

    Nothing is shown where stderr is not a terminal.
    """
    if not sys.stderr.isatty():
        yield lambda _steps: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(description, total=total)
        yield lambda steps: bar.advance(task, steps)
