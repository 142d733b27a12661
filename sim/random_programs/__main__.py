"""Make random Programs, run each, and print what they cover.

``python -m hwroute.sim.random_programs --count 200`` runs them on the interpreter, in order and
with its units at two paces; with ``--rtl`` on the interpreter and the machine.
"""

import json
import sys
from functools import partial
from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress

from hwroute import provenance
from hwroute.config import Config
from hwroute.paths import build_dir
from hwroute.sim.random_programs.campaign import Tallies, run_campaign
from hwroute.sim.random_programs.case import check
from hwroute.sim.random_programs.coverage import KEYS, coverage, table
from hwroute.sim.random_programs.generate import random_case
from hwroute.sim.random_programs.on_machine import explain
from hwroute.sim.random_programs.overlapped import overlapped
from hwroute.sim.random_programs.page import LEAST, page, seldom, total_of
from hwroute.sim.random_programs.setting import CONFIGS

COMMAND = "python -m hwroute.sim.random_programs"
BUILDS = "machine"
KEPT = "random_programs"


@click.command()
@click.option("--count", default=200, show_default=True, help="Programs.")
@click.option("--seed", default=1, show_default=True, help="Seed of the first; others follow.")
@click.option(
    "--config",
    "name",
    type=click.Choice([config.name for config in CONFIGS]),
    help="Configuration of all Programs; each draws its own by default.",
)
@click.option("--rtl", is_flag=True, help="Run them on the machine in RTL.")
@click.option("--jobs", type=int, help="Processes of --rtl; as many as there are cores by default.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for random-programs.md and its JSON, with --rtl.",
)
def main(
    count: int, seed: int, name: str | None, rtl: bool, jobs: int | None, out: Path | None
) -> None:
    """Run random Programs; exit with 1 where one differs, or, from 200 on, some thing is seldom."""
    seeds = range(seed, seed + count)
    config = next((config for config in CONFIGS if config.name == name), None)
    if not rtl:
        sys.exit(_interpret(seeds, config))
    total = _simulate(seeds, config, jobs)
    options = f" --seed {seed}" * (seed != 1) + f" --config {name}" * (name is not None)
    command = f"{COMMAND} --rtl --count {count}{options}"
    text = page(total, seeds, f"{command} --out docs/results")
    if out is None:
        click.echo(text)
    else:
        (out / "random-programs.md").write_text(text, encoding="utf-8")
        _write_json(total, seeds, out / "random-programs.json")
    sum_of_all = total_of(total)
    for failure in sorted(sum_of_all.failures.items()):
        click.echo("seed {}: {}".format(*failure))
    if sum_of_all.failures:
        case = random_case(min(sum_of_all.failures), config)
        builds = build_dir() / BUILDS
        click.echo(explain(case, folder=build_dir() / KEPT / "failure", builds=builds))
    sys.exit(bool(sum_of_all.failures) or _lacks(count, len(seldom(sum_of_all))))


def _lacks(count: int, seldom_ones: int) -> bool:
    """Tell whether something is seldom although there were Programs enough."""
    return seldom_ones > 0 and count >= 200


def _interpret(seeds: range, config: Config | None) -> bool:
    """Run Programs on the interpreter, print what they cover; tell whether something is seldom."""
    cases = [random_case(seed, config) for seed in seeds]
    for case in cases:
        for pace in range(2):
            check(case, partial(overlapped, seed=pace))
    counts = coverage(cases)
    below = [" ".join(key) for key in KEYS if counts[key] < LEAST]
    click.echo(f"{table(counts)}\nbelow {LEAST}: {', '.join(below) or 'nothing'}")
    return _lacks(len(seeds), len(below))


def _simulate(seeds: range, config: Config | None, jobs: int | None) -> Tallies:
    """Run Programs on the machine, with a bar on a terminal."""
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("Programs", total=len(seeds))
        return run_campaign(
            seeds,
            config,
            builds=build_dir() / BUILDS,
            kept=build_dir() / KEPT,
            jobs=jobs,
            progress=lambda done: bar.advance(task, done),
        )


def _write_json(total: Tallies, seeds: range, file: Path) -> None:
    """Write what was found with its provenance."""
    content = {
        "provenance": provenance.collect(command=sys.argv, seed=seeds.start),
        "programs": len(seeds),
        "configurations": {name: vars(tally) for name, tally in sorted(total.items())},
    }
    file.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
