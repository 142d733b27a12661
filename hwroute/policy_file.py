"""Routing policies as TOML files, read strictly."""

import tomllib
from pathlib import Path

import tomli_w

from hwroute.errors import InputError
from hwroute.plain import from_plain, to_plain
from hwroute.policy import RoutingPolicy

FORMAT = 1
"""Version of the file format; any other is refused."""


def read_policy(path: Path) -> RoutingPolicy:
    """Read a policy file.

    Raises
    ------
    InputError
        The file is unreadable, of another format, or says something that no policy can be.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: must be a readable policy file: {error}") from error
    return from_toml(text, str(path))


def from_toml(text: str, where: str) -> RoutingPolicy:
    """Read a policy from the text of a TOML file.

    Parameters
    ----------
    text
        ``format = 1`` and the fields of `RoutingPolicy`.
    where
        What an error calls the text.

    Raises
    ------
    InputError
        As `read_policy`; the message names the key and the nearest right one.
    """
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{where}: must be TOML: {error}") from error
    version = values.pop("format", None)
    if type(version) is not int or version != FORMAT:
        raise InputError(f"{where}: format must be {FORMAT}, not {version!r}")
    try:
        policy = from_plain(RoutingPolicy, values)
    except (TypeError, ValueError) as error:
        raise InputError(f"{where}: {error}") from error
    assert isinstance(policy, RoutingPolicy)
    return policy


def to_toml(policy: RoutingPolicy) -> str:
    """Return the text of a file from which `from_toml` reads `policy`; defaults are left out."""
    return tomli_w.dumps({"format": FORMAT} | to_plain(policy))
