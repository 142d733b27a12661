"""What may go wrong around a run: a bus that fails, and runs before it in the same simulation."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum

from hwroute.config import Config
from hwroute.rtl.axi import Response
from hwroute.sim.machine.harness import BAD_BITS, memories

Step = tuple[str, int, int]
"""Of the host: ``sim/verilog/hwroute_host.v``."""


@dataclass(frozen=True, kw_only=True)
class BusFailure:
    """Addresses of a memory that it answers with an error.

    Parameters
    ----------
    memory
        ``ddr``, ``hbm_0``, ...
    addresses
        In bytes, one after the other.
    read, write
        How reads and writes of them are answered.

    Raises
    ------
    ValueError
        The addresses leave bytes out.
    """

    memory: str
    addresses: range
    read: Response = Response.OKAY
    write: Response = Response.OKAY

    def __post_init__(self) -> None:
        if self.addresses.step != 1:
            raise ValueError(f"Addresses must follow each other, not {self.addresses!r}")


class Reset(Enum):
    """What the host resets."""

    MACHINE = 0
    ALL = 1
    """Memories too, which forget what they owe."""


@dataclass(frozen=True, kw_only=True)
class Earlier:
    """A run before the one that counts.

    Parameters
    ----------
    arguments
        Of `hwroute.csr`, where they are others than those of the run that counts.
    failure
        What fails at the bus.
    reset
        What is reset behind it; None for nothing.
    cut
        Cycle, as the log counts, of the reset; None for one behind the end of the run.

    Raises
    ------
    ValueError
        A run is to be cut off by no reset.
    """

    arguments: Mapping[str, int] = field(default_factory=dict)
    failure: BusFailure | None = None
    reset: Reset | None = None
    cut: int | None = None

    def __post_init__(self) -> None:
        if self.reset is None and self.cut is not None:
            raise ValueError(f"A run must be cut off by a reset, not at {self.cut!r} without one")


def failure_steps(config: Config, failure: BusFailure | None) -> Iterator[Step]:
    """Yield what the host does so that this fails, and nothing else."""
    values = [0] * len(BAD_BITS)
    if failure:
        number = list(memories(config)).index(failure.memory)
        places = failure.addresses
        values = [number, places.start, places.stop, failure.read.value, failure.write.value]
    yield from (("F", setting, value) for setting, value in enumerate(values))
