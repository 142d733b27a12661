"""The queue in front of a unit, and what waits in it."""

from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

import numpy as np
import simpy
from numpy.typing import NDArray

from hwroute import timing
from hwroute.isa.fields import PLANES, QUEUED, Register, Unit
from hwroute.isa.instruction import Instruction
from hwroute.sequencer_config import SequencerConfig
from hwroute.sim.performance.result import Event

Process = Generator[simpy.Event, Any, Any]


@dataclass(slots=True, eq=False)
class Item:
    """An instruction on its way through a unit.

    Parameters
    ----------
    one, event
        The instruction and its record.
    wait, signal
        Units of its tokens.
    """

    one: Instruction
    event: Event
    wait: tuple[Unit, ...]
    signal: tuple[Unit, ...]


class Registers:
    """Registers and bitmask planes.

    Members
    -------
    values
        By `Register`.
    planes
        bool [planes, tokens of a tile].
    """

    def __init__(self, tile: int):
        self.values = [0] * len(Register)
        self.planes: NDArray[np.bool_] = np.zeros((PLANES, tile), np.bool_)

    def selected(self, plane: int, rows: int) -> NDArray[np.int64]:
        """Return the tokens of a tile of `rows` that a plane holds."""
        return np.arange(rows) if plane == 0 else np.flatnonzero(self.planes[plane, :rows])


class UnitQueue:
    """The queue in front of a unit: tokens, and how many are under way.

    Parameters
    ----------
    env, config
        SimPy's; sizes.
    unit
        Which.

    Members
    -------
    pending
        Instructions that were handed on and have not ended.
    last_end
        When one ended last.
    """

    def __init__(self, env: simpy.Environment, config: SequencerConfig, unit: Unit):
        self.env = env
        self.config = config
        self.unit = unit
        self.pending = 0
        self.last_end = 0.0
        self._waiting: deque[Item] = deque()
        self._tokens: dict[Unit, deque[float]] = {other: deque() for other in QUEUED}
        self._under_way = 0
        self._changed = env.event()
        self._offered: Item | None = None
        self._offers = env.event()
        self._taken = -1.0
        env.process(self._issue())

    @property
    def full(self) -> bool:
        """There is no room for another instruction."""
        return len(self._waiting) >= self.config.queue

    def _poke(self) -> None:
        if not self._changed.triggered:
            self._changed.succeed()

    def hand(self, item: Item) -> None:
        """Take an instruction from the sequencer."""
        self.pending += 1
        self._waiting.append(item)
        self._poke()

    def give(self, unit: Unit) -> None:
        """Put a token of another unit."""
        self._tokens[unit].append(self.env.now)
        self._poke()

    def retire(self) -> None:
        """Note the end of the oldest instruction under way."""
        self._under_way -= 1
        self.pending -= 1
        self.last_end = self.env.now
        self._poke()

    def offered(self) -> Process:
        """Wait for an instruction and return it; it stays in the queue until it is taken."""
        while self._offered is None:
            yield self._offers
        return self._offered

    def take(self) -> None:
        """Take the instruction that is offered: the unit has room for it."""
        assert self._offered
        self._offered.event.issued = self._taken = self.env.now
        self._offered = None
        self._poke()

    def _issue(self) -> Process:
        while True:
            while not self._ready():
                self._changed = self.env.event()
                yield self._changed
            item = self._waiting[0]
            given = [self._tokens[unit].popleft() for unit in item.wait]
            start = max(item.event.handed + timing.UNIT_QUEUE_CYCLES, self._taken + 1)
            if given:
                start = max(start, max(given) + timing.TOKEN_CYCLES)
            if start > self.env.now:
                yield self.env.timeout(start - self.env.now)
            self._waiting.popleft()
            self._under_way += 1
            self._offered = item
            self._offers.succeed()
            self._offers = self.env.event()
            self.left()

    def _ready(self) -> bool:
        return (
            bool(self._waiting)
            and self._offered is None
            and self._under_way < self.config.in_flight
            and all(self._tokens[unit] for unit in self._waiting[0].wait)
        )

    left: Callable[[], None] = staticmethod(lambda: None)
    """Called when there is room in the queue again; set by the sequencer."""
