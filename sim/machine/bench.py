"""Speed of the simulated machine: ``python -m hwroute.sim.machine.bench``.

Nothing passes or fails. `tiny` reads a prompt of 16 tokens and generates 16, every write compared.
"""

import resource
import tempfile
from pathlib import Path

import click

from hwroute.compiler import compile_program
from hwroute.config import PRESETS
from hwroute.models.folder import ModelFolder
from hwroute.models.generate import adjusted_policy
from hwroute.models.image import Image, build_image
from hwroute.models.library import model_path
from hwroute.paths import build_dir
from hwroute.program import Program
from hwroute.sim.machine.build import build_machine
from hwroute.sim.machine.check import check_machine
from hwroute.sim.machine.run import run_machine
from hwroute.speeds import Speed, seconds, speed_of, write_speeds

PROMPT, GENERATED = "First Citizen:\nB", 16
CONFIG = PRESETS["demo"]
RATE, WARM, COLD = 20_000, 60, 360
"""Bars: cycles a second of one core; seconds of a run and its comparison, built and not built."""


def _case() -> tuple[Program, Image, list[int]]:
    tiny = ModelFolder(model_path("tiny"))
    assert tiny.tokenizer is not None
    policy = adjusted_policy(tiny, routing=True, kv=None)
    program = compile_program(tiny.shape, policy, CONFIG, model=tiny.name)
    return program, build_image(program, tiny), tiny.tokenizer.encode(PROMPT)


def speeds(runs: int, *, cold: bool) -> list[Speed]:
    """Measure simulated cycles a second of processor time, and whole compared runs.

    Parameters
    ----------
    runs
        Of each figure but the cold one.
    cold
        Also build the machine anew, once; minutes.
    """
    program, image, ids = _case()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)

        def compared(builds: Path) -> None:
            check_machine(
                program, image, ids, GENERATED, folder=folder / "run", builds=builds, waves=False
            )

        def rate() -> float:
            start = resource.getrusage(resource.RUSAGE_CHILDREN)
            run = run_machine(program, image, ids, GENERATED, folder=folder / "run")
            end = resource.getrusage(resource.RUSAGE_CHILDREN)
            spent = end.ru_utime + end.ru_stime - start.ru_utime - start.ru_stime
            return run.cycles / spent

        found = []
        if cold:
            taken = seconds(lambda: compared(folder / "builds"))
            found.append(speed_of("16 + 16 tokens compared, nothing built", "s", COLD, [taken]))
        builds = build_dir() / "machine"
        build_machine(CONFIG, folder=builds)
        rates = [rate() for _ in range(runs)]
        warm = [seconds(lambda: compared(builds)) for _ in range(runs)]
    return [
        speed_of("cycles simulated, of processor time", "cycles/s", RATE, rates),
        speed_of("16 + 16 tokens compared", "s", WARM, warm),
        *found,
    ]


@click.command()
@click.option("--runs", default=3, show_default=True, help="Runs of each figure.")
@click.option("--cold", is_flag=True, help="Also emit and compile the machine anew: minutes.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Also write machine-speed.md and machine-speed.json into this folder.",
)
def main(runs: int, cold: bool, out: Path | None) -> None:
    """Measure the simulation of the machine."""
    found = speeds(runs, cold=cold)
    for speed in found:
        click.echo(speed)
    if out:
        command = f"python -m hwroute.sim.machine.bench --runs {runs}{' --cold' * cold}"
        write_speeds(
            found,
            out,
            name="machine-speed",
            title="Speed of the simulated machine",
            command=f"{command} --out docs/results",
            runs=runs,
        )


if __name__ == "__main__":
    main()
