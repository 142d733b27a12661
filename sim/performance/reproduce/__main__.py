"""``python -m hwroute.sim.performance.reproduce --out docs/results`` writes the comparison.

reproduce.md and reproduce.json: every part, and the sensitivities.
"""

import json
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import click

from hwroute import provenance
from hwroute.sim.performance.reproduce import report
from hwroute.sim.performance.reproduce.cases import Case
from hwroute.sim.performance.reproduce.run import SECTIONS, SENSITIVITY, run

PROGRAM = "python -m hwroute.sim.performance.reproduce"


@click.command(epilog=f"Example: {PROGRAM} --out docs/results")
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder."
)
def main(out: Path) -> None:
    """Put the paper's figures beside ours."""
    case = Case()
    with ProcessPoolExecutor(max_workers=1) as beside:
        moved = beside.submit(run, SENSITIVITY, case)
        sections = [section for name in SECTIONS for section in run(name, case).sections]
        sensitivity = moved.result().sensitivity
    assert sensitivity is not None, "it was asked for"
    command = f"{PROGRAM} --out {out}"
    record = report.fields(sections, sensitivity) | {
        "provenance": provenance.collect(command=sys.argv, config=case.config, seed=case.seed)
    }
    out.mkdir(parents=True, exist_ok=True)
    page = report.page(sections, sensitivity, command)
    (out / "reproduce.md").write_text(page, encoding="utf-8")
    text = json.dumps(record, indent=2, allow_nan=False) + "\n"
    (out / "reproduce.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(prog_name=PROGRAM)
