"""``hwroute config``: the configurations that size an overlay."""

import click
import tomli_w

from hwroute.cli.options import json_option
from hwroute.cli.output import emit
from hwroute.config import PRESETS, load, to_dict


@click.group(epilog="Example: hwroute config list")
def config() -> None:
    """List, show and check configurations."""


@config.command("list", epilog="Example: hwroute config list --json")
@json_option
def list_(as_json: bool) -> None:
    """List the named configurations."""
    rows = ["name  columns  HBM ports  KV buffer tokens  context tokens  layers"]
    rows += [
        f"{name:<4}  {preset.array.columns:7}  {preset.kv.hbm_ports:9}  "
        f"{preset.kv.buffer_tokens:16}  {preset.kv.max_tokens:14}  {preset.kv.max_layers:6}"
        for name, preset in PRESETS.items()
    ]
    result = {"configurations": [to_dict(preset) for preset in PRESETS.values()]}
    emit(result, "\n".join(rows), as_json=as_json)


@config.command(epilog="Example: hwroute config show u280 > mine.toml")
@click.argument("configuration", default="demo")
@json_option
def show(configuration: str, as_json: bool) -> None:
    """Print every field of a CONFIGURATION as TOML.

    CONFIGURATION is a name or a TOML file; without it, demo. What is printed is such a file.
    """
    loaded = load(configuration)
    fields = to_dict(loaded)
    emit(fields, tomli_w.dumps(fields).rstrip(), as_json=as_json, config=loaded)


@config.command(epilog="Example: hwroute config check demo")
@click.argument("configuration")
@json_option
def check(configuration: str, as_json: bool) -> None:
    """Say whether a CONFIGURATION is valid.

    CONFIGURATION is a name or a TOML file. An invalid one is reported in one line, with exit
    code 2.
    """
    loaded = load(configuration)
    emit({"valid": True}, f"{configuration}: valid", as_json=as_json, config=loaded)
