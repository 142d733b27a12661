"""``hwroute compare``: two traces of the same program."""

from pathlib import Path

import click

from hwroute.cli.options import json_option
from hwroute.cli.output import emit
from hwroute.errors import CheckFailedError

TRACE = click.Path(dir_okay=False, path_type=Path)


@click.command(epilog="Example: hwroute compare golden.trace rtl.trace")
@click.argument("ours", type=TRACE)
@click.argument("theirs", type=TRACE)
@json_option
def compare(ours: Path, theirs: Path, as_json: bool) -> None:
    """Compare two traces record by record, bit by bit.

    Exit code 1 where they differ, with the first difference; 2 where they are traces of different
    programs, or one has no records.
    """
    from hwroute import api

    result = api.compare(ours, theirs)
    first = result.first
    emit(
        {
            "match": result.match,
            "records": result.records,
            "mismatches": result.mismatches,
            "first_divergence": first.to_dict() if first else None,
        },
        f"{result.records} records compared, {result.mismatches} mismatches",
        as_json=as_json,
    )
    if first:
        raise CheckFailedError(f"first divergence: {first}")
