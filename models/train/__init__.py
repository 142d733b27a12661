"""Training recipe of the zoo's model; its modules need PyTorch, this one does not."""

from __future__ import annotations

import importlib.util

import click

EXIT_MISSING = 3
"""Exit status when an optional dependency is absent."""


def require_torch() -> None:
    """Leave with one line of advice unless PyTorch is installed.

    Raises
    ------
    SystemExit
        With status `EXIT_MISSING` if it is not.
    """
    if importlib.util.find_spec("torch") is None:
        click.echo("Training needs PyTorch: pip install 'hwroute[train]'", err=True)
        raise SystemExit(EXIT_MISSING)
