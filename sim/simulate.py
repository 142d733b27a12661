"""The main job: generate text on the golden model, replay the run on the RTL, compare every bit."""

import shlex
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from hwroute.checkpoint import Checkpoint
from hwroute.compare import Divergence
from hwroute.config import Config
from hwroute.errors import InputError
from hwroute.models.generate import Generation, Tracer, generate
from hwroute.models.golden import Golden
from hwroute.models.ops.kv import KVMemory, KVRequest
from hwroute.policy import RoutingPolicy
from hwroute.rtl.units import UNITS
from hwroute.sim.emission import EmittedUnit
from hwroute.sim.faults import Fault
from hwroute.sim.record import Recorded, Recorder
from hwroute.sim.replay import Replay, UnitResult, differences
from hwroute.sim.replay_array import ArrayReplay
from hwroute.sim.replay_memory import KVDataReplay, KVOrderReplay
from hwroute.sim.replay_reduction import FusedReplay, SoftmaxReplay
from hwroute.sim.replay_router import RouterReplay
from hwroute.sim.replay_vector import VectorReplay
from hwroute.sim.units import UnitSimulation

WORKERS = 2
"""Units that are built and run at a time."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What to simulate, and how.

    Parameters
    ----------
    prompt
        Token ids.
    tokens
        Tokens to generate.
    stall
        Chance that a stream idles or is held up in a cycle.
    seed
        Of the stalls.
    max_cycles
        Watchdog of each unit.
    only
        Replay this operation alone (the KV memory: all up to it); None for the whole run.
    waves
        Write waves of every unit that runs.
    fault
        Plant this fault.
    """

    prompt: Sequence[int]
    tokens: int
    stall: float = 0.0
    seed: int = 1
    max_cycles: int = 20_000_000
    only: int | None = None
    waves: bool = False
    fault: Fault | None = None


@dataclass(frozen=True, kw_only=True)
class Simulation:
    """Result of `simulate`.

    Parameters
    ----------
    generation
        Of the golden model.
    operations, replayed
        Operations of the run, and how many of them ran on a unit, by kind.
    units
        What each unit gave.
    golden_seconds, build_seconds, run_seconds
        Wall time of the golden model, the builds and the runs.
    waves
        Folder of the waves, if any were written.
    """

    generation: Generation
    operations: Counter[str]
    replayed: Counter[str]
    units: list[UnitResult]
    golden_seconds: float
    build_seconds: float
    run_seconds: float
    waves: Path | None

    @property
    def divergences(self) -> list[tuple[str, Divergence]]:
        """Unit and first difference of every operation that differs, by operation."""
        found = [(unit.unit, item) for unit in self.units for item in unit.divergences]
        return sorted(found, key=lambda pair: pair[1].id)

    @property
    def cycles(self) -> int:
        """Clock cycles of all units."""
        return sum(unit.cycles for unit in self.units)


def record(
    checkpoint: Checkpoint, config: Config, policy: RoutingPolicy, job: Job
) -> tuple[Generation, list[Recorded], list[KVRequest], Golden]:
    """Generate on the golden model and keep the inputs and outputs of every operation."""
    requests: list[KVRequest] = []
    recorder = Recorder(Tracer(checkpoint, config), requests)
    golden = Golden(checkpoint, config, policy=policy, observer=recorder)
    memory = KVMemory(config.kv, requests)
    generation = generate(golden, job.prompt, job.tokens, memory=memory)
    return generation, recorder.operations, requests, golden


def replays(
    config: Config,
    operations: Sequence[Recorded],
    chosen: Sequence[Recorded],
    requests: Sequence[KVRequest],
    golden: Golden,
) -> list[Replay]:
    """Return the replays of the chosen operations of a run that have anything to do."""
    last = chosen[-1].record.id if chosen else -1
    history = operations[: last + 1]
    candidates: list[Replay] = [
        ArrayReplay(config, golden, chosen),
        FusedReplay(golden.weights, chosen),
        SoftmaxReplay(chosen),
        VectorReplay(golden, chosen),
        RouterReplay(chosen),
        KVOrderReplay(chosen, requests),
        KVDataReplay(config.kv, golden.shape, history, chosen),
    ]
    return [replay for replay in candidates if replay.golden]


def simulate(
    checkpoint: Checkpoint,
    config: Config,
    policy: RoutingPolicy,
    job: Job,
    *,
    folder: Path,
    progress: Callable[[int], None] = lambda _: None,
) -> Simulation:
    """Run the main job.

    Parameters
    ----------
    checkpoint, config, policy
        What to run.
    job
        How.
    folder
        Where builds, runs and waves go.
    progress
        Called with 1 after each unit.

    Raises
    ------
    InputError
        The prompt does not fit, or `Job.only` is no operation of the run that a unit runs.
    ToolMissingError
        There is no Verilator or no compiler.
    """
    start = time.perf_counter()
    generation, operations, requests, golden = record(checkpoint, config, policy, job)
    golden_seconds = time.perf_counter() - start
    chosen = operations
    if job.only is not None:
        chosen = [item for item in operations if item.record.id == job.only]
        requests = requests[: chosen[0].requests[1]] if chosen else []
    todo = replays(config, operations, chosen, requests, golden)
    if job.only is not None and not todo:
        raise InputError(
            f"--only must be the id of an operation that a unit runs, from 0 to "
            f"{len(operations) - 1}, not {job.only}"
        )
    place = folder / "waves"
    if not job.waves:
        # A folder of its own, so that simulations side by side do not meet.
        (folder / "runs").mkdir(parents=True, exist_ok=True)
        place = Path(tempfile.mkdtemp(dir=folder / "runs"))
    run = partial(_run_unit, config=config, job=job, builds=folder, place=place, progress=progress)
    with ThreadPoolExecutor(WORKERS) as pool:
        units = list(pool.map(run, todo))
    if not job.waves:
        shutil.rmtree(place)
    ids = {record.id for replay in todo for record in replay.golden}
    return Simulation(
        generation=generation,
        operations=Counter(item.record.operator for item in chosen),
        replayed=Counter(item.record.operator for item in chosen if item.record.id in ids),
        units=units,
        golden_seconds=golden_seconds,
        build_seconds=sum(unit.build_seconds for unit in units),
        run_seconds=sum(unit.run_seconds for unit in units),
        waves=folder / "waves" if job.waves else None,
    )


def _run_unit(
    replay: Replay,
    *,
    config: Config,
    job: Job,
    builds: Path,
    place: Path,
    progress: Callable[[int], None],
) -> UnitResult:
    """Build one unit, feed it, compare."""
    start = time.perf_counter()
    fault = job.fault if job.fault and job.fault.unit == replay.name else None
    unit = EmittedUnit.kept(
        partial(UNITS[replay.name], config),
        identity=f"{replay.name} {config!r}",
        folder=builds / "verilog",
    )
    simulation = UnitSimulation(unit, folder=builds, waves=job.waves, fault=fault)
    built = time.perf_counter()
    run = simulation.run(
        replay.inputs,
        replay.expect,
        folder=place / replay.name,
        settings=replay.settings,
        stall=job.stall,
        seed=job.seed,
        max_cycles=job.max_cycles,
    )
    records = replay.records(run.outputs)
    done = time.perf_counter()
    progress(1)
    return UnitResult(
        unit=replay.name,
        operations=dict(Counter(record.operator for record in replay.golden)),
        values=sum(value.size for record in replay.golden for value in record.outputs.values()),
        divergences=differences(replay.golden, records),
        cycles=run.cycles,
        build_seconds=built - start,
        run_seconds=done - built,
    )


def reproduce_command(model: str, prompt: Sequence[int], job: Job, divergence: Divergence) -> str:
    """Return the command line that replays one operation with waves."""
    words = ["hwroute", "sim", "-m", model, "--prompt-ids", ",".join(map(str, prompt))]
    words += ["-n", str(job.tokens), "--only", str(divergence.id), "--waves"]
    if job.fault:
        words += ["--fault", job.fault.name]
    return shlex.join(words)
