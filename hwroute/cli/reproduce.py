"""``hwroute reproduce``: the paper's figures beside ours."""

import click

from hwroute.cli.options import json_option
from hwroute.cli.output import emit, progress
from hwroute.config import load
from hwroute.sim.performance.reproduce.cases import SEED
from hwroute.sim.performance.reproduce.run import NAMES


@click.command(epilog="Example: hwroute reproduce kv-storage")
@click.argument("what", type=click.Choice(NAMES))
@click.option(
    "-m",
    "--model",
    default="llama2-7b",
    metavar="MODEL",
    help="Zoo name, model folder, name of a shape (hwroute models list) or config.json.",
)
@click.option("-c", "--config", default="u280", metavar="CONFIG", help="Name or TOML file.")
@click.option("-d", "--device", default="u280", metavar="DEVICE", help="Board, or a TOML file.")
@json_option
def reproduce(what: str, model: str, config: str, device: str, as_json: bool) -> None:
    """Put what SkipOPU prints beside what the performance model says.

    Sensitivity: how far results move when a free parameter moves by a tenth. All takes minutes.
    """
    from hwroute.api.reproduce import reproduce as run
    from hwroute.api.reproduce import reproduce_steps
    from hwroute.sim.performance.reproduce import report

    overlay = load(config)
    total = reproduce_steps(what, model=model, config=overlay, device=device)
    with progress("reproducing", total) as advance:
        result = run(what, model=model, config=overlay, device=device, progress=advance)
    emit(
        report.fields(result.sections, result.sensitivity),
        report.text(result.sections, result.sensitivity),
        as_json=as_json,
        config=overlay,
        seed=SEED,
    )
