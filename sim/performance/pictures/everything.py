"""All pictures of one result."""

from pathlib import Path

from hwroute.errors import InputError
from hwroute.sim.performance.generation import Performance
from hwroute.sim.performance.pictures.bandwidth import draw_bandwidth
from hwroute.sim.performance.pictures.breakdown import draw_time
from hwroute.sim.performance.pictures.buffer import draw_buffer
from hwroute.sim.performance.pictures.perfetto_trace import write_trace
from hwroute.sim.performance.pictures.roofline import draw_roofline
from hwroute.sim.performance.pictures.skip_map import draw_skip_map
from hwroute.sim.performance.pictures.timeline import draw_timeline

DRAWN = (draw_roofline, draw_time, draw_bandwidth, draw_timeline, draw_skip_map, draw_buffer)


def draw(performance: Performance, folder: Path) -> list[Path]:
    """Draw all pictures of a result, each as PNG and SVG, and write its timelines.

    Parameters
    ----------
    performance
        What came of `hwroute.sim.performance.generation.measure`.
    folder
        Where the files go; it is made if it is not there. prefill.pftrace and decode.pftrace open
        in https://ui.perfetto.dev: the prompt, and the last step that was simulated.

    Returns
    -------
    list[Path]
        The files. Pictures of decode are left away where there is none.

    Raises
    ------
    InputError
        The folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"folder {folder} must be writable: {error}") from error
    paths = [path for one in DRAWN for path in one(performance, folder)]
    runs = {"prefill": performance.prefill}
    if performance.steps:
        runs["decode"] = performance.steps[max(performance.steps)]
    for name, run in runs.items():
        path = folder / f"{name}.pftrace"
        write_trace(performance.setup.program, run, performance.hertz, path)
        paths.append(path)
    return paths
