"""``hwroute models``: the zoo and model folders."""

import click

from hwroute.cli.models_import import import_
from hwroute.cli.options import json_option
from hwroute.cli.output import emit


@click.group(epilog="Example: hwroute models show tiny")
def models() -> None:
    """List, show and import models."""


models.add_command(import_)


@models.command("list", epilog="Example: hwroute models list --json")
@json_option
def list_(as_json: bool) -> None:
    """List the models that ship."""
    from hwroute import api
    from hwroute.cli.model_summary import summary
    from hwroute.models.library import zoo_names

    rows = [summary(api.load(name)) for name in zoo_names()]
    width = max((len(str(row["name"])) for row in rows), default=4)
    lines = [f"{'name':<{width}}  layers  routers  policy            bytes"]
    lines += [
        f"{row['name']:<{width}}  {row['layers']:>6}  {row['routers']:>7}  "
        f"{row['policy']:<16}  {row['bytes']}"
        for row in rows
    ]
    emit({"models": rows}, "\n".join(lines), as_json=as_json)


@models.command(epilog="Example: hwroute models show tiny --json")
@click.argument("model")
@json_option
def show(model: str, as_json: bool) -> None:
    """Print shape, routing and size of a MODEL: a zoo name or a folder."""
    from hwroute import api
    from hwroute.cli.model_summary import lines, summary

    fields = summary(api.load(model))
    emit(fields, lines(fields), as_json=as_json)
