"""Routing policies as TOML files, read strictly."""

import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

import tomli_w

from hwroute.errors import InputError, nearest
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
        policy = _parse(RoutingPolicy, values, "")
    except (TypeError, ValueError) as error:
        raise InputError(f"{where}: {error}") from error
    assert isinstance(policy, RoutingPolicy)
    return policy


def to_toml(policy: RoutingPolicy) -> str:
    """Return the text of a file from which `from_toml` reads `policy`; defaults are left out."""
    return tomli_w.dumps({"format": FORMAT} | _plain(policy))


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return {
            item.name: _plain(getattr(value, item.name))
            for item in fields(value)
            if not _is_default(item, getattr(value, item.name))
        }
    if isinstance(value, Enum):
        return value.value
    return [_plain(part) for part in value] if isinstance(value, tuple) else value


def _is_default(item: Any, value: object) -> bool:
    if item.default_factory is not MISSING:
        return bool(value == item.default_factory())
    return item.default is not MISSING and bool(value == item.default)


def _parse(kind: Any, value: object, where: str) -> object:
    """Return `value`, as TOML holds it, as the annotated type `kind`; `where` is its key."""
    if NoneType in get_args(kind):
        return _parse(get_args(kind)[0], value, where)
    if get_origin(kind) is tuple:
        if not isinstance(value, list):
            raise TypeError(f"{where} must be an array, not {value!r}")
        part = get_args(kind)[0]
        return tuple(_parse(part, item, f"{where}[{i}]") for i, item in enumerate(value))
    if is_dataclass(kind):
        if not isinstance(value, Mapping):
            raise TypeError(f"{where} must be a table, not {value!r}")
        return _parse_table(kind, value, where)
    if issubclass(kind, Enum):
        choices = [choice.value for choice in kind]
        if value not in choices:
            close = nearest(value, choices) if isinstance(value, str) else ""
            raise ValueError(f"{where} must be one of {', '.join(choices)}, not {value!r}{close}")
        return kind(value)
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise TypeError(f"{where} must be of type {kind.__name__}, not {value!r}")
    return value


def _parse_table(kind: Any, table: Mapping[str, object], where: str) -> object:
    """Return a table as the dataclass `kind`."""
    hints = get_type_hints(kind)
    prefix = f"{where}." if where else ""
    for key in table:
        if key not in hints:
            raise ValueError(f"{prefix}{key} must be a known key{nearest(key, list(hints))}")
    for item in fields(kind):
        required = item.default is MISSING and item.default_factory is MISSING
        if required and item.name not in table:
            raise ValueError(f"key {prefix}{item.name} is missing")
    parsed = {key: _parse(hints[key], value, prefix + key) for key, value in table.items()}
    try:
        return kind(**parsed)
    except ValueError as error:
        raise ValueError(f"{where}: {error}" if where else str(error)) from error
