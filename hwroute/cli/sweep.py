"""``hwroute sweep``: many runs of the performance model."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from hwroute.cli.options import json_option
from hwroute.cli.output import emit, progress
from hwroute.errors import CheckFailedError

if TYPE_CHECKING:
    from hwroute.api.sweeps import Sweep
    from hwroute.sim.performance.sweep_points import Point


@click.command(epilog="Example: hwroute sweep examples/sweep.toml -o build/sweep")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "-o",
    "--output",
    required=True,
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where results go; points that are finished there are not run again.",
)
@click.option("--dry-run", is_flag=True, help="Say what would run.")
@click.option(
    "--scheduler",
    metavar="ADDR",
    help="A Dask scheduler, such as tcp://host:8786, whose workers run the points.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    metavar="N",
    show_default="as many as cores",
    help="Processes on this machine.",
)
@click.option(
    "--pareto",
    "cost",
    default="skip",
    metavar="COLUMN",
    help="Of results.csv: the cost against which the picture's front is drawn.",
)
@json_option
def sweep(
    file: Path,
    output: Path,
    dry_run: bool,
    scheduler: str | None,
    workers: int | None,
    cost: str,
    as_json: bool,
) -> None:
    """Run the performance model for every point of FILE, a grid or a list in TOML.

    An interrupted sweep goes on where it was. A bad point is reported, the others are not lost
    (exit code 1). A picture shows the points that no other one beats in token/s and in cost.
    """
    from hwroute import api
    from hwroute.sim.performance.sweep_points import read_points

    points = read_points(file)
    if dry_run:
        _show(points, output, as_json=as_json)
        return
    with progress("points", len(points)) as advance:
        result = api.sweep(
            points,
            output,
            scheduler=scheduler,
            workers=workers,
            progress=advance,
            command=click.get_current_context().find_root().obj,
        )
    emit({"rows": result.rows}, _text(points, result, output), as_json=as_json)
    if len(result.failed) < len(points):
        _draw(points, result, output, cost)
    if result.failed:
        raise CheckFailedError(f"{len(result.failed)} of {len(points)} points failed")


def _show(points: list["Point"], folder: Path, *, as_json: bool) -> None:
    """Print what would run."""
    from hwroute.api.sweeps import finished
    from hwroute.sim.performance.sweep_points import varying

    done, names = finished(points, folder), varying(points)
    lines = [f"{len(points)} points, {len(done)} of them finished in {folder}"]
    lines += [
        f"{number:4} {point.label(names)}{' (finished)' if point in done else ''}"
        for number, point in enumerate(points, start=1)
    ]
    rows = [{"point": point.plain(), "finished": point in done} for point in points]
    emit({"rows": rows}, "\n".join(lines), as_json=as_json)


def _draw(points: list["Point"], result: "Sweep", folder: Path, cost: str) -> None:
    """Draw the points and their front."""
    from hwroute.sim.performance.pictures import pareto
    from hwroute.sim.performance.sweep_points import varying
    from hwroute.sim.performance.sweep_store import columns_of

    rows = [columns_of(row) for row in result.rows]
    pareto(rows, folder, options=varying(points), cost=cost)


def _text(points: list["Point"], result: "Sweep", folder: Path) -> str:
    """Return how many points there are, which is fastest and what is wrong with others."""
    from hwroute.sim.performance.sweep_points import varying

    names = varying(points)
    before = f"{result.resumed} of them finished before"
    lines = [f"{len(points)} points, {before}; results.csv and results.json are in {folder}"]
    good = [
        (row["figures"]["tokens_per_second"], point)
        for point, row in zip(points, result.rows, strict=True)
        if "figures" in row
    ]
    if good:
        speed, point = max(good, key=lambda one: one[0])
        lines.append(f"fastest in decode: {point.label(names)}: {speed:.2f} token/s")
    lines += [
        f"point {number} failed: {point.label(names)}: {row['failure']}"
        for number, (point, row) in enumerate(zip(points, result.rows, strict=True), start=1)
        if "failure" in row
    ]
    return "\n".join(lines)
