"""Dataclasses as plain values, which TOML and JSON hold, and strictly back."""

from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

from hwroute.errors import nearest


def to_plain(value: Any) -> Any:
    """Return a dataclass as a dict without the fields that have their default.

    Enumerations become their values, tuples lists and mappings dicts, at any depth.
    """
    if is_dataclass(value):
        return {
            item.name: to_plain(getattr(value, item.name))
            for item in fields(value)
            if not _is_default(item, getattr(value, item.name))
        }
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {key: to_plain(part) for key, part in value.items()}
    return [to_plain(part) for part in value] if isinstance(value, tuple) else value


def _is_default(item: Any, value: object) -> bool:
    if item.default_factory is not MISSING:
        return bool(value == item.default_factory())
    return item.default is not MISSING and bool(value == item.default)


def from_plain(kind: Any, value: object, where: str = "") -> Any:
    """Return what `to_plain` gave as the annotated type `kind` again.

    Parameters
    ----------
    kind
        A dataclass, enumeration, tuple, mapping, optional or plain type.
    value
        As TOML or JSON holds it.
    where
        Its key, "" at the top.

    Raises
    ------
    TypeError, ValueError
        A key is unknown or missing, or a value is of the wrong type or out of range; the message
        names the key.
    """
    if NoneType in get_args(kind):
        return from_plain(get_args(kind)[0], value, where)
    if get_origin(kind) is tuple:
        if not isinstance(value, list):
            raise TypeError(f"{where} must be an array, not {value!r}")
        part = get_args(kind)[0]
        return tuple(from_plain(part, item, f"{where}[{i}]") for i, item in enumerate(value))
    if is_dataclass(kind) or get_origin(kind) is Mapping:
        if not isinstance(value, Mapping):
            raise TypeError(f"{where} must be a table, not {value!r}")
        if not is_dataclass(kind):
            part = get_args(kind)[1]
            return {key: from_plain(part, item, f"{where}.{key}") for key, item in value.items()}
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
    parsed = {key: from_plain(hints[key], value, prefix + key) for key, value in table.items()}
    try:
        return kind(**parsed)
    except ValueError as error:
        raise ValueError(f"{where}: {error}" if where else str(error)) from error
