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
from hwroute.sim.random_programs.generate import random_case
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


def run_seeds(seeds: Iterable[int], config: Config | None, builds: Path) -> Tallies:
    """Run Programs one after the other.

    Parameters
    ----------
    seeds
        Which ones.
    config
        For which configuration; None: for that which each seed draws.
    builds
        Where builds are kept.
    """
    found: Tallies = {}
    with tempfile.TemporaryDirectory(prefix="hwroute-random-") as folder:
        for seed in seeds:
            case = random_case(seed, config)
            ran = run_on_machine(case, folder=Path(folder), builds=builds)
            tally = found.setdefault(case.program.config.name, Tally())
            counts = Counter({" ".join(key): count for key, count in ran.counts.items()})
            failures = {seed: ran.difference} if ran.difference else {}
            tally.add(Tally(1, ran.instructions, ran.cycles, counts, failures))
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
        As in `run_seeds`.
    kept
        Where finished chunks are kept, in a folder for each state of machines and sources.
    jobs
        Processes, by default as many as there are cores.
    progress
        Called with the number of Programs that are done, chunk by chunk.

    Raises
    ------
    HwrouteError
        A machine cannot be built: our bug.
    """
    machines = [build_machine(one, folder=builds) for one in ([config] if config else CONFIGS)]
    folder = kept / _fingerprint(machines)
    folder.mkdir(parents=True, exist_ok=True)
    name = config.name if config else "drawn"
    total: Tallies = {}
    for part, found in _run_chunks(seeds, config, builds, folder / name, jobs or CORES):
        for configuration, tally in found.items():
            total.setdefault(configuration, Tally()).add(tally)
        progress(len(part))
    return total


def _run_chunks(
    seeds: range, config: Config | None, builds: Path, folder: Path, jobs: int
) -> Iterator[tuple[range, Tallies]]:
    """Yield each chunk of seeds with what it found: those that are kept first."""
    folder.mkdir(exist_ok=True)
    starts = range(seeds.start, seeds.stop, CHUNK)
    parts = [range(start, min(start + CHUNK, seeds.stop)) for start in starts]
    files = {part: folder / f"{part.start}-{part.stop}.json" for part in parts}
    for part in parts:
        if files[part].exists():
            yield part, _read(files[part])
    left = [part for part in parts if not files[part].exists()]
    for part, found in _run(left, config, builds, jobs):
        _write(found, files[part])
        yield part, found


def _run(
    parts: list[range], config: Config | None, builds: Path, jobs: int
) -> Iterator[tuple[range, Tallies]]:
    """Yield chunks as they are finished; one job is this process."""
    if jobs == 1:
        yield from ((part, run_seeds(part, config, builds)) for part in parts)
        return
    with ProcessPoolExecutor(jobs) as pool:
        futures = {pool.submit(run_seeds, part, config, builds): part for part in parts}
        try:
            yield from ((futures[one], one.result()) for one in as_completed(futures))
        finally:
            pool.shutdown(cancel_futures=True)


def _fingerprint(machines: Iterable[Path]) -> str:
    """Return a hash of the machines and of all sources that decide what a run finds."""
    runners = [file for name in RUNNERS for file in sorted((PACKAGE / name).rglob("*.py"))]
    sources = hash_of_files([*source_files(), *runners])
    names = " ".join(machine.parent.name for machine in machines)
    return hashlib.sha256(f"{sources} {names}".encode()).hexdigest()[:32]


def _write(found: Tallies, file: Path) -> None:
    """Write a chunk, whole or not at all."""
    partial_file = file.with_suffix(f".{os.getpid()}")
    partial_file.write_text(json.dumps({name: vars(one) for name, one in found.items()}))
    partial_file.replace(file)


def _read(file: Path) -> Tallies:
    """Read a chunk; JSON has the seeds of failures as text."""
    return {
        name: Tally(
            **{
                **one,
                "counts": Counter(one["counts"]),
                "failures": {int(seed): text for seed, text in one["failures"].items()},
            }
        )
        for name, one in json.loads(file.read_text()).items()
    }
