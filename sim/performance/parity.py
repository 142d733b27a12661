"""The performance model beside the RTL: the same Programs, the same memories, cycle for cycle.

``python -m hwroute.sim.performance.parity --out docs/results`` writes the tables.
"""

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import click

from hwroute import provenance
from hwroute.generated import row
from hwroute.paths import build_dir
from hwroute.sim.performance.parity_cases import CASES, Memory
from hwroute.sim.performance.parity_runs import CONFIG, Parity, compare, largest, sums

TOTAL_LIMIT, CLASS_LIMIT = 0.03, 0.05
"""How far the model may be from the RTL: cycles of a run; of a class, issue to end, summed."""
SHOWN = 3
"""Instructions of each run that are shown."""
PAGE = """# Performance model and RTL

Written by `python -m hwroute.sim.performance.parity --out docs/results`: {count} Programs at the
demo configuration, run by the performance model and by the RTL in Verilator, with the same
memories. The model takes the routing decisions from the interpreter, with which the RTL's tokens
are compared. A miss is the model's figure over the RTL's, less 1. The bars are {total:.0%} of a
run's cycles and {each:.0%} of a class of instructions; `tests/sim/machine/test_machine_parity.py`
holds them.

## Runs

Skipped: share of attention and of FFN sub-layers. Memory: latency in cycles of its clock, ratio of
the clocks of HBM and machine, share of cycles in which a channel stalls. Worst class: the one with
the largest miss in this run.

{runs}

## Classes of instructions

Cycles from issue to end, summed over all runs.

{classes}

## Largest misses

The {shown} instructions of each run that are missed by most cycles.

{largest}

Where they come from:

- `values`, several passes over few entries: a pass waits for the bank of units of the last but one.
  The model has that loop as it is for passes of one batch of entries. With two batches the RTL
  takes 8 cycles more in two passes; why is not known.
- `values` and `scores` in decode with hits in the history buffer: when a bank may read an entry is
  not modelled to the cycle.
- `matmul`: in the model tiles and beats of a stripe follow each other at their mean distance, in
  the RTL one by one.
- `matmul` whose sums stay in the array (`last=0`, narrow ones of the wide model): the RTL ends it
  with its last beat, the model some 36 cycles later, with the sums.
- `load`, `gather`, and all with stalls: the model has the mean of the stalls, a run has its own.
  Loads that end one behind the other have a cycle between them that the model lacks.
- `rotate`, `normalise`, `swiglu`: two reads that want the same bank of the scratchpad in a cycle
  take one more, which the model lacks (`hwroute.timing.npe_cycles`).
"""


def compare_all(folder: Path, builds: Path) -> Iterator[Parity]:
    """Run all cases on both; parameters as in `hwroute.sim.performance.parity_runs.compare`."""
    for case in CASES:
        yield compare(case, folder=folder, builds=builds)


def page(parities: Sequence[Parity]) -> str:
    """Return the tables as a page."""
    return PAGE.format(
        count=len(parities),
        total=TOTAL_LIMIT,
        each=CLASS_LIMIT,
        shown=SHOWN,
        runs="\n".join(_runs(parities)),
        classes="\n".join(_classes(parities)),
        largest="\n".join(_largest(parities)),
    )


def _runs(parities: Iterable[Parity]) -> Iterator[str]:
    yield row(
        "Program", "prompt + tokens", "skipped", "memory", "RTL", "model", "miss", "worst class"
    )
    yield row("---", "---", "---", "---", "---:", "---:", "---:", "---")
    for one in parities:
        classes = sums([one])
        worst = max(classes, key=lambda name: abs(classes[name].miss))
        yield row(
            one.case.name,
            f"{one.case.prompt} + {one.case.generate}",
            " / ".join(f"{share:.0%}" for share in one.skipped),
            _memory(one.case.memory),
            f"{one.rtl_cycles:,}",
            f"{one.model_cycles:,.0f}",
            f"{one.miss:+.2%}",
            f"`{worst}` {classes[worst].miss:+.1%}",
        )


def _memory(memory: Memory) -> str:
    machine, hbm = memory.half_periods
    stalls = f", {memory.stall:.0%}" if memory.stall else ""
    return f"{memory.latency}, {machine}:{hbm}{stalls}"


def _classes(parities: Iterable[Parity]) -> Iterator[str]:
    yield row("instruction", "count", "RTL", "model", "miss")
    yield row("---", "---:", "---:", "---:", "---:")
    for name, one in sums(parities).items():
        yield row(
            f"`{name}`", one.count, f"{one.rtl:,.0f}", f"{one.model:,.0f}", f"{one.miss:+.2%}"
        )


def _largest(parities: Iterable[Parity]) -> Iterator[str]:
    yield row("Program", "instruction", "index", "RTL", "model")
    yield row("---", "---", "---:", "---:", "---:")
    for parity in parities:
        for pair in islice(largest(parity), SHOWN):
            yield row(
                parity.case.name,
                f"`{pair.name}`",
                pair.rtl.index,
                f"{pair.rtl.cycles:,.0f}",
                f"{pair.model.cycles:,.0f}",
            )


def record(parities: Sequence[Parity]) -> dict[str, object]:
    """Return the same for JSON."""
    return {
        "runs": [
            {
                "name": one.case.name,
                "rtl_cycles": one.rtl_cycles,
                "model_cycles": one.model_cycles,
                "miss": one.miss,
                "classes": {name: found.miss for name, found in sums([one]).items()},
            }
            for one in parities
        ],
        "classes": {
            name: {"count": one.count, "rtl_cycles": one.rtl, "model_cycles": one.model}
            for name, one in sums(parities).items()
        },
        "provenance": provenance.collect(command=sys.argv, config=CONFIG),
    }


@click.command()
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for parity.md and .json.",
)
def main(out: Path | None) -> None:
    """Compare the performance model with the machine in RTL."""
    builds = build_dir() / "machine"
    parities = list(compare_all(builds / "parity", builds))
    text = page(parities)
    if out is None:
        click.echo(text)
        return
    (out / "parity.md").write_text(text, encoding="utf-8")
    values = json.dumps(record(parities), indent=2, allow_nan=False) + "\n"
    (out / "parity.json").write_text(values, encoding="utf-8")


if __name__ == "__main__":
    main()
