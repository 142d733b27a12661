"""``hwroute models``: the zoo and model folders."""

import click

from hwroute.cli.options import json_option
from hwroute.cli.output import emit


@click.group(epilog="Example: hwroute models show tiny")
def models() -> None:
    """List and show models."""


def _summary(name: str) -> dict[str, object]:
    from hwroute import api

    checkpoint = api.load(name)
    shape = checkpoint.shape
    return {
        "name": checkpoint.name,
        "layers": shape.layers,
        "dims": {
            "dim": shape.dim,
            "heads": shape.heads,
            "kv_heads": shape.kv_heads,
            "head_dim": shape.head_dim,
            "ffn_dim": shape.ffn_dim,
            "vocab": shape.vocab,
            "context": shape.context,
        },
        "routers": checkpoint.routers,
        "policy": checkpoint.policy.name,
        "bytes": checkpoint.size_bytes,
        "path": str(checkpoint.path),
    }


@models.command("list", epilog="Example: hwroute models list --json")
@json_option
def list_(as_json: bool) -> None:
    """List the models that ship."""
    from hwroute.models.library import zoo_names

    rows = [_summary(name) for name in zoo_names()]
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
    summary = _summary(model)
    lines = []
    for key, value in summary.items():
        pairs = value.items() if isinstance(value, dict) else [(key, value)]
        lines += [f"{label:<9} {content}" for label, content in pairs]
    emit(summary, "\n".join(lines), as_json=as_json)
