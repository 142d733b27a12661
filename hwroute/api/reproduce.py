"""The paper's figures beside ours."""

from typing import TYPE_CHECKING

from hwroute.api.programs import shape_and_policy
from hwroute.api.progress import Progress, silent
from hwroute.config import PRESETS, Config
from hwroute.errors import InputError, nearest

if TYPE_CHECKING:
    from hwroute.sim.performance.reproduce.cases import Case
    from hwroute.sim.performance.reproduce.run import Reproduction


def reproduce(
    what: str = "all",
    *,
    model: str = "llama2-7b",
    config: Config = PRESETS["u280"],
    device: str = "u280",
    progress: Progress = silent,
) -> "Reproduction":
    """Put what SkipOPU prints beside what the performance model says.

    Parameters
    ----------
    what
        Part of it: a name in `hwroute.sim.performance.reproduce.run.NAMES`.
    model, config, device
        The paper's by default. Of another model or machine ours are what they are; the paper's
        figures stay.
    progress
        Called with 1 after each of as many steps as `reproduce_steps` says.

    Raises
    ------
    InputError
        No such part, model or device, or a model that does not fit the overlay.
    """
    from hwroute.sim.performance.reproduce.run import NAMES, run

    if what not in NAMES:
        raise InputError(
            f"part must be one of {', '.join(NAMES)}, not {what!r}{nearest(what, list(NAMES))}"
        )
    return run(what, _case(model, config, device), progress)


def reproduce_steps(
    what: str,
    *,
    model: str = "llama2-7b",
    config: Config = PRESETS["u280"],
    device: str = "u280",
) -> int:
    """Return the steps that `reproduce` takes, for a progress bar."""
    from hwroute.sim.performance.reproduce.run import steps

    return steps(what, _case(model, config, device))


def _case(model: str, config: Config, device: str) -> "Case":
    from hwroute.sim.performance.reproduce.cases import Case

    shape, policy, name = shape_and_policy(model)
    return Case(name=name, shape=shape, policy=policy, config=config, board=device)
