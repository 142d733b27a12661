"""A random Program on the simulated machine, held to the interpreter write by write."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from hwroute.errors import HwrouteError
from hwroute.isa.disassembly import to_text
from hwroute.models.interpreter.journal import Journal
from hwroute.sim.machine.check import check_machine
from hwroute.sim.random_programs.case import RandomCase
from hwroute.sim.random_programs.coverage import Counting, Key
from hwroute.sim.random_programs.shrink import shrink

STALLS = (0.0, 0.1, 0.2, 0.3)
LATENCIES = (1, 4, 16, 40)
"""Cycles of a memory's clock."""
CLOCKS = ((1, 1), (1, 1), (1, 1), (2, 1))
"""Half periods of machine and HBM; the last are those of the U280."""
LIMITS = {"max_cycles": 400_000, "timeout": 20_000}
"""Watchdogs, in cycles: the longest instruction of a random Program takes some thousand."""


@dataclass(frozen=True, kw_only=True)
class Ran:
    """What a run on the machine gave.

    Parameters
    ----------
    difference
        From the interpreter, "" for none.
    instructions, cycles
        That were compared; of the machine.
    counts
        What the run met: `hwroute.sim.random_programs.coverage.KEYS`.
    """

    difference: str
    instructions: int
    cycles: int
    counts: Counter[Key]


def conditions(seed: int) -> dict[str, Any]:
    """Return the settings of `hwroute.sim.machine.run.run_machine` that go with a seed."""
    random = Random(seed)
    return {
        "seed": seed,
        "stall": random.choice(STALLS),
        "latency": random.choice(LATENCIES),
        "half_periods": random.choice(CLOCKS),
    }


def run_on_machine(case: RandomCase, *, folder: Path, builds: Path, **settings: Any) -> Ran:
    """Run a case on both; a machine that breaks a rule of its ports or an assertion differs.

    Parameters
    ----------
    case
        What is run, under the `conditions` of its seed.
    folder, builds
        For the files of the run; where builds are kept.
    settings
        Of `hwroute.sim.machine.run.run_machine`, over these conditions.
    """
    counting = Counting(case.program, case.image, journal=Journal())
    try:
        checked = check_machine(
            case.program,
            case.image,
            case.prompt,
            case.generate,
            folder=folder,
            builds=builds,
            waves=False,
            interpreter=counting,
            **{**conditions(case.seed), **LIMITS, **settings},
        )
    except HwrouteError as error:
        return Ran(difference=str(error), instructions=0, cycles=0, counts=counting.counts)
    # A Program may put fewer ids, or more, than the host asks for: memories tell.
    same = checked.run.ok and not checked.first
    return Ran(
        difference="" if same else checked.difference,
        instructions=checked.lockstep.instructions,
        cycles=checked.run.cycles,
        counts=counting.counts,
    )


def explain(case: RandomCase, *, folder: Path, builds: Path, **settings: Any) -> str:
    """Make a case that fails on the machine small; return what differs, and its assembly.

    Parameters
    ----------
    case, folder, builds, settings
        As in `run_on_machine`.

    Raises
    ------
    ValueError
        The case does not fail.
    """

    def run(one: RandomCase) -> Ran:
        return run_on_machine(one, folder=folder, builds=builds, **settings)

    small = shrink(case, lambda one: bool(run(one).difference))
    return (
        f"seed {case.seed} at {case.program.config.name}: {run(case).difference}\n"
        f"{len(small.program.instructions)} of {len(case.program.instructions)} instructions "
        f"still fail: {run(small).difference}\n"
        f"prompt {list(small.prompt)}, {small.generate} to generate, {conditions(case.seed)}\n"
        f"{to_text(small.program)}"
    )
