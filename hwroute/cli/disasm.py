"""``hwroute disasm``: a program file becomes a listing."""

from pathlib import Path

import click

from hwroute.cli.options import json_option
from hwroute.cli.output import emit


@click.command(epilog="Example: hwroute disasm tiny.program -o tiny.s")
@click.argument("program", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    show_default="standard output",
    help="Listing to write.",
)
@json_option
def disasm(program: Path, output: Path | None, as_json: bool) -> None:
    """Print a PROGRAM file as text that a person reads and asm takes."""
    from hwroute import api
    from hwroute.tensor_document import write_whole

    text = api.disassemble(program)
    if output is None:
        emit({"listing": text}, text.removesuffix("\n"), as_json=as_json)
        return
    write_whole(output, lambda path: path.write_text(text, encoding="utf-8"), "listing")
    emit(
        {"lines": text.count("\n"), "path": str(output)},
        f"written to {output}",
        as_json=as_json,
    )
