"""Many runs of the performance model."""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwroute import config as configurations
from hwroute import provenance
from hwroute.api.performance import perf
from hwroute.api.programs import shape_and_policy
from hwroute.api.progress import Progress, silent
from hwroute.errors import HwrouteError
from hwroute.plain import to_plain

if TYPE_CHECKING:
    from hwroute.sim.performance.sweep_points import Point

Row = dict[str, Any]
DIED = "its process died, twice; it may have run out of memory"


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """What a sweep gave.

    Parameters
    ----------
    rows
        One for each point, in order: ``id``; ``point``, its options; ``figures``, what
        ``hwroute perf --json`` gives, and the ``seconds`` that it took, or ``failure``, the line
        that says what is wrong with it; ``commit`` of the checkout that ran it.
    resumed
        Points that had been finished before.
    """

    rows: list[Row]
    resumed: int

    @property
    def failed(self) -> list[Row]:
        """Rows of bad points."""
        return [row for row in self.rows if "failure" in row]


def sweep(
    points: Sequence["Point"],
    folder: Path,
    *,
    scheduler: str | None = None,
    workers: int | None = None,
    progress: Progress = silent,
    command: Sequence[str] | None = None,
) -> Sweep:
    """Run the performance model for every point; points that the folder has are not run again.

    Every finished point is in ``points.jsonl`` of the folder at once; at the end all are in
    ``results.csv`` and ``results.json``. A bad point becomes a row with a ``failure`` and is run
    again the next time.

    Parameters
    ----------
    points
        As `hwroute.sim.performance.sweep_points.read_points` gives them.
    folder
        Where results go.
    scheduler
        Address of a Dask scheduler, whose workers are used instead of this machine's.
    workers
        Processes on this machine; as many as cores by default.
    progress
        Told of every point, finished before or now.
    command
        For the provenance; this process's by default.

    Raises
    ------
    InputError
        Another sweep writes to the folder, it is no sweep's, or no scheduler answers.
    ToolMissingError
        Dask is needed and not installed.
    """
    from hwroute.sim.performance.sweep_store import Store, read_finished

    with Store(folder) as store:
        ids, known = {point: identity(point) for point in points}, read_finished(folder)
        rows = {point: known[ids[point]] for point in points if ids[point] in known}
        resumed = len(rows)
        progress(resumed)
        origin = provenance.collect(command=command or sys.argv)
        left = [point for point in points if point not in rows]
        for point, outcome in _run(left, scheduler, workers):
            row = {"id": ids[point], "point": point.plain(), **outcome, "commit": origin["commit"]}
            if "figures" in outcome:
                store.add(row)
            rows[point] = row
            progress(1)
        result = Sweep(rows=[rows[point] for point in points], resumed=resumed)
        store.write(result.rows, origin)
    return result


def finished(points: Sequence["Point"], folder: Path) -> set["Point"]:
    """Return the points that a folder has, without writing anything.

    Raises
    ------
    InputError
        The folder's file is no sweep's.
    """
    from hwroute.sim.performance.sweep_store import read_finished

    known = read_finished(folder)
    return {point for point in points if identity(point) in known}


def _run(
    points: Sequence["Point"], scheduler: str | None, workers: int | None
) -> Iterator[tuple["Point", Row]]:
    from hwroute.sim.performance.sweep_pool import Died, run_local, run_on_cluster

    if not points:
        return
    if scheduler:
        results = run_on_cluster(run_point, points, scheduler)
    else:
        results = run_local(run_point, points, workers)
    with closing(results):
        for point, outcome in results:
            yield point, {"failure": DIED} if isinstance(outcome, Died) else outcome


def run_point(point: "Point") -> Row:
    """Return ``figures`` and ``seconds`` of a point, or the ``failure`` that it is."""
    from hwroute.sim.performance.report import figures

    start = time.perf_counter()
    try:
        config = configurations.load(point.config)
        if point.kv_mapping:
            config = replace(config, memory=replace(config.memory, kv_mapping=point.kv_mapping))
        result = perf(
            point.model,
            prefill=point.prefill,
            decode=point.decode,
            config=config,
            device=point.device,
            skip=point.skip,
            kv=point.kv,
            history_buffer=point.kv_buffer,
            fused=point.fused,
            seed=point.seed,
            layer_correlation=point.layer_correlation,
            token_correlation=point.token_correlation,
        )
    except HwrouteError as error:
        return {"failure": str(error)}
    except Exception as error:
        # Of one point; the others are not lost for it.
        return {"failure": f"internal error, please report it: {type(error).__name__}: {error}"}
    return {"figures": figures(result), "seconds": time.perf_counter() - start}


def identity(point: "Point") -> str:
    """Return a hash of all that a point's figures come from, but hwroute's own sources.

    That is its options, the version of hwroute, and what its files say: configuration, device,
    and the model's shape and policy.
    """
    from hwroute.sim.device import load_device

    fields: Row = {"hwroute": version("hwroute"), "point": point.plain()}
    # What cannot be read makes a bad point, which is not kept.
    with suppress(HwrouteError, OSError):
        shape, policy, _ = shape_and_policy(point.model)
        fields["model"] = to_plain(shape), to_plain(policy)
        fields["config"] = configurations.to_dict(configurations.load(point.config))
        fields["device"] = to_plain(load_device(point.device))
    return provenance.hash_of(fields)
