"""Which parts of the comparison there are, and running them."""

from collections.abc import Callable
from dataclasses import dataclass

from hwroute.sim.performance.reproduce import (
    end_to_end,
    kv_bandwidth,
    kv_storage,
    resources,
    table1,
)
from hwroute.sim.performance.reproduce.attention import NAME as ATTENTION
from hwroute.sim.performance.reproduce.attention import attention
from hwroute.sim.performance.reproduce.cases import Case
from hwroute.sim.performance.reproduce.free import free
from hwroute.sim.performance.reproduce.rows import Section
from hwroute.sim.performance.reproduce.sensitivity import Sensitivity, sensitivity

SENSITIVITY, ALL = "sensitivity", "all"
SECTIONS: dict[str, Callable[[Case], Section]] = {
    table1.NAME: lambda _: table1.table1(),
    resources.NAME: lambda case: resources.table2(case.config),
    end_to_end.NAME: end_to_end.end_to_end,
    ATTENTION: attention,
    kv_bandwidth.NAME: kv_bandwidth.kv_bandwidth,
    kv_storage.NAME: kv_storage.kv_storage,
}
"""By name, in the order of the page."""
NAMES = (*SECTIONS, SENSITIVITY, ALL)


@dataclass(frozen=True, kw_only=True)
class Reproduction:
    """What was asked for.

    Parameters
    ----------
    sections
        Parts of the comparison.
    sensitivity
        Of the free parameters, where it was asked for.
    """

    sections: tuple[Section, ...]
    sensitivity: Sensitivity | None


def steps(what: str, case: Case) -> int:
    """Return the number of times that `run` calls `done`."""
    own = len(SECTIONS) if what == ALL else int(what in SECTIONS)
    return own + (len(free(case)) if what in (SENSITIVITY, ALL) else 0)


def run(what: str, case: Case, done: Callable[[int], None] = lambda _: None) -> Reproduction:
    """Run a part, or all.

    Parameters
    ----------
    what
        One of `NAMES`.
    case
        Model and machine.
    done
        Called with 1 after each of `steps`.
    """
    sections = []
    for name, section in SECTIONS.items():
        if what in (name, ALL):
            sections.append(section(case))
            done(1)
    asked = what in (SENSITIVITY, ALL)
    return Reproduction(
        sections=tuple(sections), sensitivity=sensitivity(case, done=done) if asked else None
    )
