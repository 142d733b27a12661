"""Run a Program on the simulated machine, as a host does."""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hwroute.csr import Error, Kind, csr_table
from hwroute.errors import HwrouteError
from hwroute.isa.fields import LINE_BYTES
from hwroute.models.image import Image
from hwroute.models.interpreter.run import check_request
from hwroute.paths import build_dir
from hwroute.program import Program
from hwroute.sim.machine.attempts import BusFailure, Earlier
from hwroute.sim.machine.build import build_machine
from hwroute.sim.machine.harness import LOG, WAVES, memories
from hwroute.sim.machine.host import (
    DONE,
    arguments_of,
    prepare,
    read_ids,
    read_memory,
    read_registers,
    write_steps,
)
from hwroute.sim.machine_faults import load_faults

STALLS = 256
"""What the chance of a stall is counted in."""
PATIENCE = 100_000
"""Cycles without progress that end a run by default."""


@dataclass(frozen=True, kw_only=True)
class Ending:
    """What the registers say after a run.

    Parameters
    ----------
    finished
        Whether the machine came to an end by itself.
    error, error_unit, error_index, overflowed
        As its registers have it.
    counters
        All counters, by name.
    """

    finished: bool
    error: Error
    error_unit: int
    error_index: int
    overflowed: bool
    counters: dict[str, int]

    @property
    def cycles(self) -> int:
        """Cycles of the machine's clock from start to end."""
        return self.counters["cycles"]

    @property
    def ok(self) -> bool:
        """Whether the machine came to its halt."""
        return self.finished and self.error is Error.NONE


@dataclass(frozen=True, kw_only=True)
class MachineRun(Ending):
    """What a run gave.

    Parameters
    ----------
    token_ids
        Generated tokens, the one that ended the generation included; none unless `ok`.
    ddr, hbm
        Contents at the end: uint8 [lines, 128] and [ports, beats, 32].
    log, waves
        Files, None where not asked for.
    earlier
        How the runs before it ended, but for those that were cut off.
    owed
        Bursts that the memories owed at each reset.
    """

    token_ids: list[int]
    ddr: NDArray[np.uint8]
    hbm: NDArray[np.uint8]
    log: Path | None
    waves: Path | None
    earlier: list[Ending]
    owed: list[int]


def run_machine(
    program: Program,
    image: Image,
    prompt: Sequence[int],
    generate: int,
    stop: int | None = None,
    *,
    folder: Path,
    stall: float = 0.0,
    seed: int = 1,
    latency: int = 16,
    half_periods: tuple[int, int] = (1, 1),
    max_cycles: int = 100_000_000,
    timeout: int = PATIENCE,
    log: bool = True,
    waves: range | None = None,
    builds: Path | None = None,
    fault: int | None = None,
    failure: BusFailure | None = None,
    before: Sequence[Earlier] = (),
) -> MachineRun:
    """Write the memories, run the machine, read the memories.

    Parameters
    ----------
    program, image
        What is run.
    prompt, generate, stop
        As `hwroute.models.interpreter.Interpreter.generate` takes them.
    folder
        For the files of this run; made if missing.
    stall
        Chance that a channel of a memory is not ready, or offers nothing new, in a cycle.
    seed
        Of the stalls, and of what registers without a value begin with.
    latency
        Cycles of a memory's clock from an address to the first answer, at least 1.
    half_periods
        Of the clocks of the machine and of HBM, in any unit.
    max_cycles
        Watchdog, in cycles of the machine.
    timeout
        Cycles without progress that end a run (`hwroute.csr`), 0 for none.
    log
        Write the log of `hwroute.sim.machine.log`.
    waves
        Cycles of the log of which to write waves. The run ends soon after them.
    builds
        Where builds are kept; by default `hwroute.paths.build_dir`.
    fault
        Run a build that has all of `hwroute.sim.machine_faults.load_faults`, with this one of them,
        from 1, or 0 for none; None for the machine as it is.
    failure
        What fails at the bus.
    before
        Runs before it in the same simulation, on memories as each leaves them to the next.

    Raises
    ------
    ValueError
        A setting is out of range.
    InputError
        The prompt is empty, or does not fit the Program's memories with what is asked.
    HwrouteError
        The machine broke a rule of its ports, or an assertion failed: our bug.
    """
    check_request(program, prompt, generate)
    threshold = round(stall * STALLS)
    if not 0 <= threshold < STALLS or latency < 1 or min(half_periods) < 1 or max_cycles < 1:
        raise ValueError(
            f"stall must be from 0 to below 1, latency, half periods and cycles at least 1, not "
            f"{stall!r}, {latency!r}, {half_periods!r} and {max_cycles!r}"
        )
    executable = build_machine(
        program.config,
        folder=builds or build_dir() / "machine",
        waves=waves is not None,
        faults=() if fault is None else load_faults(),
    )
    prepare(program, image, prompt, folder)
    arguments = arguments_of(program, len(prompt), generate, stop, timeout)
    limit = max_cycles if waves is None else min(max_cycles, waves.stop)
    write_steps(program.config, arguments, limit, folder, before, failure)
    half, memory_half = half_periods
    settings = {
        "stall": threshold,
        "seed": seed,
        "latency": latency,
        "half": half,
        "memory_half": memory_half,
    }
    if fault is not None:
        settings["fault"] = fault
    if waves is not None:
        settings["first"] = waves.start
    _simulate(executable, settings, seed, log, folder)
    return _collect(program, len(prompt), generate, stop, folder)


def _simulate(
    executable: Path, settings: dict[str, int], seed: int, log: bool, folder: Path
) -> None:
    """Run the executable; raise HwrouteError with what it said where it failed."""
    command = [
        *(str(executable), f"+folder={folder.resolve()}", *(["+log"] if log else [])),
        *(f"+{name}={value}" for name, value in settings.items()),
        *("+verilator+rand+reset+2", f"+verilator+seed+{seed}"),
    ]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode != 0:
        said = [line for line in (run.stdout + run.stderr).splitlines() if line.strip()]
        first = next((line for line in said if "Error" in line or "Assert" in line), "nothing")
        raise HwrouteError(f"the simulation of the machine stopped: {first} (in {folder})")


def _collect(
    program: Program, prompt: int, generate: int, stop: int | None, folder: Path
) -> MachineRun:
    """Read what the host read, and the memories."""
    runs, owed = read_registers(program.config, folder)
    *earlier, last = (_ending(program, values) for values in runs)
    ddr, *hbm = (read_memory(folder, name, program.config) for name in memories(program.config))
    ids = read_ids(program, ddr, prompt, generate)
    made = ids.index(stop) + 1 if stop in ids else generate
    files = {name: folder / name for name in (LOG, WAVES)}
    kept = {name: file if file.exists() else None for name, file in files.items()}
    return MachineRun(
        **vars(last),
        token_ids=ids[: made if last.ok else 0],
        ddr=ddr.reshape(-1, LINE_BYTES),
        hbm=np.stack(hbm),
        log=kept[LOG],
        waves=kept[WAVES],
        earlier=earlier,
        owed=owed,
    )


def _ending(program: Program, values: dict[str, int]) -> Ending:
    counters = (one.name for one in csr_table(program.config) if one.kind is Kind.COUNTER)
    return Ending(
        finished=bool(values["control"] & DONE),
        error=Error(values["error"]),
        error_unit=values["error_unit"],
        error_index=values["error_index"],
        overflowed=bool(values["overflowed"]),
        counters={name: values[name] for name in counters},
    )
