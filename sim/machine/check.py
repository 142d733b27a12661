"""Generate on the simulated machine and on the interpreter, and compare all that both did."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwroute.models.generate import Generation
from hwroute.models.image import Image
from hwroute.models.interpreter import Interpreter
from hwroute.models.interpreter.journal import Journal
from hwroute.program import Program
from hwroute.sim.machine.build import build_machine
from hwroute.sim.machine.divergence import Divergence
from hwroute.sim.machine.lockstep import Lockstep, follow
from hwroute.sim.machine.log import read_log
from hwroute.sim.machine.memories import compare_memories
from hwroute.sim.machine.run import MachineRun, run_machine

WINDOW = 200
"""Cycles before and behind a divergence of which waves are written."""


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What both did.

    Parameters
    ----------
    generation, overflowed
        Of the interpreter; operations in which a value saturated.
    run
        Of the machine.
    lockstep
        Every write on the way.
    memory
        The first difference of DDR or HBM in the end, None where all is equal.
    waves
        Waves around the first divergence, if there is one.
    golden_seconds, build_seconds, run_seconds
        Wall time of the interpreter; of emission and compilation; of simulation and comparison.
    """

    generation: Generation
    overflowed: list[str]
    run: MachineRun
    lockstep: Lockstep
    memory: Divergence | None
    waves: Path | None
    golden_seconds: float
    build_seconds: float
    run_seconds: float

    @property
    def match(self) -> bool:
        """Whether text, every write and all memories are equal."""
        same = self.run.ok and self.run.token_ids == self.generation.token_ids
        return same and self.lockstep.match and not self.memory

    @property
    def first(self) -> Divergence | None:
        """The first difference of a write or a memory, None where there is none."""
        return self.lockstep.divergence or self.memory

    @property
    def difference(self) -> str:
        """The first difference in words, "" where there is none."""
        if self.first:
            return str(self.first)
        if not self.run.ok:
            what = self.run.error.name.lower() if self.run.finished else "no end"
            return f"the machine came to {what} at instruction {self.run.error_index}"
        if self.run.token_ids != self.generation.token_ids:
            return f"token ids {self.run.token_ids}, not {self.generation.token_ids}"
        return ""


def check_machine(
    program: Program,
    image: Image,
    prompt: Sequence[int],
    generate: int,
    stop: int | None = None,
    *,
    folder: Path,
    builds: Path,
    waves: bool = True,
    interpreter: Interpreter | None = None,
    **settings: Any,
) -> Checked:
    """Run both; where they differ, run the machine again and write waves around that.

    Parameters
    ----------
    program, image, prompt, generate, stop, folder, builds
        As in `hwroute.sim.machine.run.run_machine`.
    waves
        Whether to run again for waves.
    interpreter
        That runs the Program, with a journal; by default a new one.
    settings
        Its further settings.

    Raises
    ------
    ValueError
        The interpreter has no journal.
    """
    start = time.perf_counter()
    interpreter = interpreter or Interpreter(program, image, journal=Journal())
    journal = interpreter.state.journal
    if journal is None:
        raise ValueError("interpreter must have a journal, not None")
    generation = interpreter.generate(prompt, generate, stop=stop)
    golden_end = time.perf_counter()
    build_machine(program.config, folder=builds)
    build_end = time.perf_counter()
    again = {"folder": folder, "builds": builds, **settings}
    run = run_machine(program, image, prompt, generate, stop, **again)
    assert run.log
    lockstep = follow(program, journal, read_log(run.log))
    memory = compare_memories(interpreter, run.ddr, run.hbm)
    run_end = time.perf_counter()
    shown = None
    if waves and lockstep.divergence and lockstep.divergence.cycle >= 0:
        cycle = lockstep.divergence.cycle
        window = range(max(0, cycle - WINDOW), cycle + WINDOW)
        shown = run_machine(program, image, prompt, generate, stop, **again, waves=window).waves
    return Checked(
        generation=generation,
        overflowed=interpreter.overflowed,
        run=run,
        lockstep=lockstep,
        memory=memory,
        waves=shown,
        golden_seconds=golden_end - start,
        build_seconds=build_end - golden_end,
        run_seconds=run_end - build_end,
    )
