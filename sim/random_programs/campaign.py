"""Many random Programs on the machine, on all cores, a chunk of seeds at a time.

What a finished chunk found is kept, so that a run that was stopped goes on where it was.
"""

import hashlib
import json
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path

from hwroute.config import Config
from hwroute.paths import PACKAGE
from hwroute.sim.emission import hash_of_files, source_files
from hwroute.sim.machine.build import build_machine
from hwroute.sim.random_programs.coverage import Key
from hwroute.sim.random_programs.generate import drawn_config, random_case
from hwroute.sim.random_programs.on_machine import run_on_machine
from hwroute.sim.random_programs.setting import CONFIGS

CORES = os.cpu_count() or 1
CHUNK = 50
"""Seeds that are run, and kept, together."""
RUNNERS = ("models", "sim/machine", "sim/random_programs")
"""Folders of the package whose sources decide what a run finds, beside those of the machine."""


@dataclass
class Tally:
    """What Programs of one configuration met.

    Parameters
    ----------
    programs, instructions, cycles
        That were run; that were compared; of the machine.
    counts
        How often each thing was met, by kind and name with a blank between.
    failures
        Seeds of Programs that differ, and what differs.
    """

    programs: int = 0
    instructions: int = 0
    cycles: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    failures: dict[int, str] = field(default_factory=dict)

    def of(self, key: Key) -> int:
        """Return how often something was met."""
        return self.counts[" ".join(key)]

    def add(self, other: "Tally") -> None:
        """Add what other Programs met."""
        self.programs += other.programs
        self.instructions += other.instructions
        self.cycles += other.cycles
        self.counts.update(other.counts)
        self.failures.update(other.failures)


Tallies = dict[str, Tally]
"""By name of the configuration."""


def run_seeds(seeds: Iterable[int], config: Config, builds: Path) -> Tally:
    """Run Programs of one configuration, one after the other.

    Parameters
    ----------
    seeds
        Which ones.
    config
        For which configuration.
    builds
        Where builds are kept.
    """
    found = Tally()
    with tempfile.TemporaryDirectory(prefix="hwroute-random-") as folder:
        for seed in seeds:
            case = random_case(seed, config)
            ran = run_on_machine(case, folder=Path(folder), builds=builds)
            counts = Counter({" ".join(key): count for key, count in ran.counts.items()})
            failures = {seed: ran.difference} if ran.difference else {}
            found.add(Tally(1, ran.instructions, ran.cycles, counts, failures))
    return found


def run_campaign(
    seeds: range,
    config: Config | None,
    *,
    builds: Path,
    kept: Path,
    jobs: int | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> Tallies:
    """Run Programs on several cores; build the machines that they need first.

    Parameters
    ----------
    seeds, config, builds
        As in `run_seeds`; with None each seed draws its own.
    kept
        Where finished chunks are kept, in a folder for each state of a machine and the sources.
    jobs
        Processes, by default as many as there are cores.
    progress
        Called with the number of Programs that are done, chunk by chunk.

    Raises
    ------
    HwrouteError
        A machine cannot be built: our bug.
    """
    chunks = []
    for one in [config] if config else CONFIGS:
        mine = [seed for seed in seeds if config or drawn_config(seed) == one]
        folder = kept / _fingerprint(build_machine(one, folder=builds))
        folder.mkdir(parents=True, exist_ok=True)
        chunks += [_Chunk(one, mine[at : at + CHUNK], folder) for at in range(0, len(mine), CHUNK)]
    total: Tallies = {}
    for chunk, found in _run_chunks(chunks, builds, jobs or CORES):
        total.setdefault(chunk.config.name, Tally()).add(found)
        progress(len(chunk.seeds))
    return total


@dataclass(frozen=True)
class _Chunk:
    """Seeds that are run together; `folder` is where what they found is kept."""

    config: Config
    seeds: list[int]
    folder: Path

    @property
    def file(self) -> Path:
        return self.folder / f"{self.seeds[0]}-{self.seeds[-1]}-{len(self.seeds)}.json"


def _run_chunks(chunks: list[_Chunk], builds: Path, jobs: int) -> Iterator[tuple[_Chunk, Tally]]:
    """Yield each chunk with what it found: those that are kept first."""
    left = [chunk for chunk in chunks if not chunk.file.exists()]
    for chunk in chunks:
        if chunk not in left:
            yield chunk, _read(chunk.file)
    for chunk, found in _run(left, builds, jobs):
        _write(found, chunk.file)
        yield chunk, found


def _run(chunks: list[_Chunk], builds: Path, jobs: int) -> Iterator[tuple[_Chunk, Tally]]:
    """Yield chunks as they are finished; one job is this process."""
    if jobs == 1:
        yield from ((one, run_seeds(one.seeds, one.config, builds)) for one in chunks)
        return
    with ProcessPoolExecutor(jobs) as pool:
        futures = {pool.submit(run_seeds, one.seeds, one.config, builds): one for one in chunks}
        try:
            yield from ((futures[one], one.result()) for one in as_completed(futures))
        finally:
            pool.shutdown(cancel_futures=True)


def _fingerprint(machine: Path) -> str:
    """Return a hash of a machine and of all sources that decide what a run finds."""
    runners = [file for name in RUNNERS for file in sorted((PACKAGE / name).rglob("*.py"))]
    sources = hash_of_files([*source_files(), *runners])
    return hashlib.sha256(f"{sources} {machine.parent.name}".encode()).hexdigest()[:32]


def _write(found: Tally, file: Path) -> None:
    """Write what a chunk found, whole or not at all."""
    partial_file = file.with_suffix(f".{os.getpid()}")
    partial_file.write_text(json.dumps(vars(found)), encoding="utf-8")
    partial_file.replace(file)


def _read(file: Path) -> Tally:
    """Read what a chunk found; JSON has the seeds of failures as text."""
    found = json.loads(file.read_text(encoding="utf-8"))
    found["counts"] = Counter(found["counts"])
    found["failures"] = {int(seed): text for seed, text in found["failures"].items()}
    return Tally(**found)
