"""``hwroute reproduce``: the paper's figures beside ours."""

import click

from hwroute.cli.options import board_options, json_option
from hwroute.cli.output import emit, progress
from hwroute.config import Config
from hwroute.sim.performance.reproduce.cases import SEED
from hwroute.sim.performance.reproduce.run import NAMES


@click.command(epilog="Example: hwroute reproduce kv-storage")
@click.argument("what", type=click.Choice(NAMES))
@board_options
@json_option
def reproduce(what: str, model: str, config: Config, device: str, as_json: bool) -> None:
    """Put what SkipOPU prints beside what the performance model says.

    Sensitivity: how far results move when a free parameter moves by a tenth. All takes minutes.
    """
    from hwroute.api.reproduce import reproduce as run
    from hwroute.api.reproduce import reproduce_steps
    from hwroute.sim.performance.reproduce import report

    total = reproduce_steps(what, model=model, config=config, device=device)
    with progress("reproducing", total) as advance:
        result = run(what, model=model, config=config, device=device, progress=advance)
    emit(
        report.fields(result.sections, result.sensitivity),
        report.text(result.sections, result.sensitivity),
        as_json=as_json,
        config=config,
        seed=SEED,
    )
