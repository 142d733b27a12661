"""Ends of streams in Amaranth's simulator that act upon payloads, and payloads as integers."""

from collections import deque
from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
from amaranth.hdl import Value

from hwroute.sim.payloads import pack, unpack, width_of


def integer(shape: Any, value: Any) -> int:
    """Return one payload as an integer; value: as `hwroute.sim.payloads.pack` takes one."""

    def batched(one: Any) -> Any:
        if isinstance(one, dict):
            return {name: batched(part) for name, part in one.items()}
        return np.asarray(one)[None]

    return int.from_bytes(pack(shape, batched(value)).tobytes(), "little")


def value_of(shape: Any, payload: int) -> Any:
    """Return an integer payload as `hwroute.sim.payloads.unpack` does, without the first axis."""

    def single(one: Any) -> Any:
        if isinstance(one, dict):
            return {name: single(part) for name, part in one.items()}
        return one[0]

    octets = (width_of(shape) + 7) // 8
    raw = np.frombuffer(payload.to_bytes(octets, "little"), np.uint8)
    return single(unpack(shape, raw[None]))


class Bits:
    """Sets bits that are not already so: the simulator settles after everything that is set.

    Bits are zero at first, and nobody else sets them.
    """

    def __init__(self) -> None:
        self._values: dict[int, bool] = {}

    def set(self, context: Any, bit: Any, value: bool) -> None:
        if self._values.get(id(bit), False) != value:
            self._values[id(bit)] = value
            context.set(bit, value)


class Source:
    """Offers payloads to a stream, each from a cycle on, idling at random."""

    def __init__(self, port: Any, random: Random, stall: float):
        self.port, self.random, self.stall = port, random, stall
        self.payload = Value.cast(port.payload)
        self.queue: deque[tuple[int, int]] = deque()
        self.payloads: list[int] = []
        self.cycles: list[int] = []
        self.offers = False
        self._bits = Bits()

    def drive(self, context: Any, cycle: int) -> None:
        due = self.queue and self.queue[0][0] <= cycle
        if not self.offers and due and self.random.random() >= self.stall:
            self.offers = True
            context.set(self.payload, self.queue[0][1])
        self._bits.set(context, self.port.valid, self.offers)

    def look(self, context: Any, cycle: int) -> None:
        if self.offers and context.get(self.port.ready):
            self.payloads.append(self.queue.popleft()[1])
            self.cycles.append(cycle)
            self.offers = False


class Sink:
    """Gives payloads of a stream to `take`, with the cycle; at random, or by `may`, not ready."""

    def __init__(
        self,
        port: Any,
        random: Random,
        stall: float,
        take: Callable[[int, int], None],
        may: Callable[[int], bool] = lambda _cycle: True,
    ):
        self.port, self.random, self.stall = port, random, stall
        self.payload = Value.cast(port.payload)
        self.take, self.may = take, may
        self.payloads: list[int] = []
        self.cycles: list[int] = []
        self.ready = False
        self.waits: int | None = None
        self._bits = Bits()

    def drive(self, context: Any, cycle: int) -> None:
        self.ready = self.random.random() >= self.stall and self._takes(context, cycle)
        self._bits.set(context, self.port.ready, self.ready)

    def _takes(self, context: Any, cycle: int) -> bool:
        return self.may(cycle)

    def look(self, context: Any, cycle: int) -> None:
        if not context.get(self.port.valid):
            assert self.waits is None, "valid withdrawn before ready"
            return
        payload = int(context.get(self.payload))
        assert self.waits in (None, payload), "payload changed before ready"
        self.waits = None if self.ready else payload
        if self.ready:
            self.payloads.append(payload)
            self.cycles.append(cycle)
            self.take(payload, cycle)
