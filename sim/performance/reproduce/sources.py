"""Every free parameter of the performance model, its value and where it comes from.

Nothing is told here: values are those of the objects that the model takes, sources those of their
docstrings and of the comments in the device's file.
"""

import inspect
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

import docstring_parser
import tomlkit
from tomlkit.items import Comment, Item, Table, Whitespace

from hwroute.sim.device import Device, device_path
from hwroute.sim.performance.parameters import Parameters

SOURCE = "Source: "


def leaves(thing: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield path and value of every field of a dataclass that is none itself, at any depth."""
    for item in fields(thing):
        name, value = f"{path}{item.name}", getattr(thing, item.name)
        if is_dataclass(value):
            yield from leaves(value, f"{name}.")
        else:
            yield name, value


def parameter_sources() -> dict[str, str]:
    """Return the source of each of the `Parameters`, by its name."""
    found = {}
    text = inspect.getdoc(Parameters)
    assert text is not None, "Parameters has a docstring"
    for one in docstring_parser.parse(text).params:
        about = " ".join((one.description or "").split())
        source = about.partition(SOURCE)[2] or about
        found.update({name.strip(): source.rstrip(".") for name in one.arg_name.split(",")})
    return found


def device_sources(name: str) -> dict[str, str]:
    """Return the source of each field of a device: its line's comment, else its table's."""
    path = device_path(name)
    document = tomlkit.parse(path.read_text(encoding="utf-8"))
    return dict(_comments(document.body, "", f"{path.name}"))


def _comments(body: list[Any], path: str, above: str) -> Iterator[tuple[str, str]]:
    """Yield path and comment of every line of a table."""
    for key, item in body:
        if key is None or isinstance(item, Comment | Whitespace):
            continue
        assert isinstance(item, Item), "a line of TOML is an item"
        own = item.trivia.comment.lstrip("# ").strip() or above
        name = f"{path}{key.key}"
        if isinstance(item, Table):
            yield from _comments(item.value.body, f"{name}.", own)
        else:
            yield name, own


def sources(device: str) -> dict[str, str]:
    """Return all sources by path: those of the `Parameters`, and below ``device.`` the board's."""
    return parameter_sources() | {
        f"device.{path}": text for path, text in device_sources(device).items()
    }


def values(parameters: Parameters, device: Device) -> dict[str, Any]:
    """Return all values by path, as `sources` has them."""
    own = dict(leaves(parameters))
    return own | {f"device.{path}": value for path, value in leaves(device)}
