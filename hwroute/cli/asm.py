"""``hwroute asm``: a listing becomes a program file."""

from pathlib import Path

import click

from hwroute.cli.options import json_option
from hwroute.cli.program import emit_program, program_output


@click.command(epilog="Example: hwroute asm tiny.s -o tiny.program")
@click.argument("listing", type=click.Path(dir_okay=False, path_type=Path))
@program_output
@json_option
def asm(listing: Path, output: Path, as_json: bool) -> None:
    """Assemble a LISTING, as disasm writes it, to a program file."""
    from hwroute import api

    program = api.assemble(listing)
    program.save(output)
    emit_program(program, output, as_json=as_json)
