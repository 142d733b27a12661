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
    """List the models that ship, and the shapes, which can be compiled without weights."""
    from hwroute import api
    from hwroute.cli.model_summary import shape_summary, summary
    from hwroute.models.library import model_shape, shape_names, zoo_names

    rows = [summary(api.load(name)) for name in zoo_names()]
    width = max((len(str(row["name"])) for row in rows), default=4)
    lines = [f"{'name':<{width}}  layers  routers  policy            bytes"]
    lines += [
        f"{row['name']:<{width}}  {row['layers']:>6}  {row['routers']:>7}  "
        f"{row['policy']:<16}  {row['bytes']}"
        for row in rows
    ]
    shapes = {name: model_shape(name) for name in shape_names()}
    title = "shape without weights"
    width = max(map(len, (title, *shapes)))
    lines += ["", f"{title:<{width}}  layers    dim  context"]
    lines += [
        f"{name:<{width}}  {shape.layers:>6}  {shape.dim:>5}  {shape.context:>7}"
        for name, shape in shapes.items()
    ]
    result = {"models": rows, "shapes": [shape_summary(*item) for item in shapes.items()]}
    emit(result, "\n".join(lines), as_json=as_json)


@models.command(epilog="Example: hwroute models show tiny --json")
@click.argument("model")
@json_option
def show(model: str, as_json: bool) -> None:
    """Print shape, routing and size of a MODEL: a zoo name, a folder or the name of a shape."""
    from hwroute import api
    from hwroute.cli.model_summary import lines, shape_summary, summary
    from hwroute.models.library import model_shape, shape_names

    shape = model_shape(model) if model in shape_names() else None
    fields = summary(api.load(model)) if shape is None else shape_summary(model, shape)
    emit(fields, lines(fields), as_json=as_json)
