"""Progress of a call that takes a while."""

from collections.abc import Callable

Progress = Callable[[int], None]
"""Called with a number of steps that are done."""


def silent(_steps: int) -> None:
    """Ignore progress."""
