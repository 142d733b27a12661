"""Options that several commands share, so that each means the same everywhere."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from hwroute import paths
from hwroute.config import Config, load
from hwroute.errors import InputError
from hwroute.policy_terms import KVRule

Function = TypeVar("Function", bound=Callable[..., Any])


def _load_config(_context: click.Context, _parameter: click.Parameter, value: str) -> Config:
    return load(value)


def _build_dir(_context: click.Context, _parameter: click.Parameter, value: Path | None) -> Path:
    return paths.build_dir(value)


def _token_ids(
    _context: click.Context, _parameter: click.Parameter, value: str | None
) -> tuple[int, ...] | None:
    """Return ``"1,2,3"`` as numbers."""
    if value is None:
        return None
    words = value.split(",")
    if not all(word.strip().isascii() and word.strip().isdigit() for word in words):
        raise InputError(
            f"--prompt-ids must be token ids with commas between them, such as 1,2,3, not {value!r}"
        )
    return tuple(int(word) for word in words)


def model_option(function: Function) -> Function:
    """Add ``-m``; the command receives a zoo name or a folder as `model`."""
    return click.option(
        "-m", "--model", default="tiny", metavar="MODEL", help="Zoo name or model folder."
    )(function)


def shape_option(default: str) -> Callable[[Function], Function]:
    """Return what adds ``-m`` where no weights are needed; the command receives `model`."""
    return click.option(
        "-m",
        "--model",
        default=default,
        metavar="MODEL",
        help="Zoo name, model folder, name of a shape (hwroute models list) or config.json.",
    )


def _config_option(default: str) -> Callable[[Function], Function]:
    return click.option(
        "-c",
        "--config",
        default=default,
        metavar="CONFIG",
        callback=_load_config,
        help="Configuration name or TOML file.",
    )


def config_option(function: Function) -> Function:
    """Add ``-c``; the command receives a `Config` as `config`."""
    return _config_option("demo")(function)


def board_options(function: Function) -> Function:
    """Add ``-m``, ``-c`` and ``-d`` of the performance model.

    The command receives `model` as of `shape_option`, a `Config` as `config`, and the name or file
    of a board as `device`.
    """
    device = click.option(
        "-d", "--device", default="u280", metavar="DEVICE", help="Board, or a TOML file."
    )
    return shape_option("llama2-7b")(_config_option("u280")(device(function)))


def prompt_options(function: Function) -> Function:
    """Add ``-p`` and ``--prompt-ids``; the command receives `prompt` and `prompt_ids`.

    Each is None where it is not given; `check_prompt` refuses both at once.
    """
    text = click.option("-p", "--prompt", metavar="TEXT", help="Prompt.")
    ids = click.option(
        "--prompt-ids",
        metavar="IDS",
        callback=_token_ids,
        help="Prompt as token ids, such as 1,2,3, for a model without a tokeniser.",
    )
    return text(ids(function))


def check_prompt(prompt: str | None, prompt_ids: tuple[int, ...] | None) -> None:
    """Raise InputError unless one of ``--prompt`` and ``--prompt-ids`` is given."""
    if (prompt is None) == (prompt_ids is None):
        given = "neither" if prompt is None else "both"
        raise InputError(f"the prompt must be given by --prompt or --prompt-ids, not by {given}")


def on_option(default: str, *, rtl: bool = False) -> Callable[[Function], Function]:
    """Return what adds ``--on``; the command receives ``"reference"``, ... as `on`.

    rtl: the machine itself can be asked, too.
    """
    machine = ", or the machine itself in Verilator" if rtl else ""
    return click.option(
        "--on",
        type=click.Choice(["reference", "golden", *(["rtl"] if rtl else [])]),
        default=default,
        help=f"Floating point, or every bit as the machine{machine}.",
    )


def _kv_rule(
    _context: click.Context, _parameter: click.Parameter, value: str | None
) -> KVRule | None:
    return None if value is None else KVRule(value)


def routing_options(function: Function) -> Function:
    """Add ``--routing`` and ``--kv``; the command receives `routing` and a `KVRule` as `kv`."""
    routing = click.option(
        "--routing",
        type=click.Choice(["on", "off"]),
        default="on",
        callback=lambda _context, _parameter, value: value == "on",
        help="off executes every sub-layer for every token.",
    )
    kv = click.option(
        "--kv",
        type=click.Choice(["reuse", "dense", "evict"]),
        callback=_kv_rule,
        show_default="the model's",
        help="K and V of a token in a layer whose attention it skipped.",
    )
    return routing(kv(function))


def build_dir_option(function: Function) -> Function:
    """Add ``--build-dir``; the command receives the folder as `build_dir`."""
    return click.option(
        "--build-dir",
        type=click.Path(file_okay=False, path_type=Path),
        callback=_build_dir,
        show_default="build/ in a checkout, else the user's cache folder",
        help="Where builds and records are written.",
    )(function)


def json_option(function: Function) -> Function:
    """Add ``--json``; the command receives `as_json` for `hwroute.cli.output.emit`."""
    return click.option(
        "--json", "as_json", is_flag=True, help="Print the result and its provenance as JSON."
    )(function)
