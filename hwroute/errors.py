"""The errors a user meets, each with the exit code of the command that met it."""


class HwrouteError(Exception):
    """Base of every error that is reported in one line: what, where, what is expected."""

    exit_code = 70


class CheckFailedError(HwrouteError):
    """The check ran and its answer is no (exit code 1)."""

    exit_code = 1


class InputError(HwrouteError):
    """What the user gave is wrong (exit code 2)."""

    exit_code = 2


class ToolMissingError(HwrouteError):
    """A tool that this command needs is not installed (exit code 3)."""

    exit_code = 3


def nearest(word: str, known: list[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the known name closest to `word`, else ``""``."""
    from difflib import get_close_matches

    close = get_close_matches(word, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
