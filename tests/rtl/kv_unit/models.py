"""Instructions and sweeps, ends of streams and HBM ports for the bench of KVUnit."""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from amaranth.hdl import Value
from numpy.typing import NDArray

from hwroute.isa.instruction import Instruction

PLANE = 1
"""The plane that the bench fills for each instruction."""


@dataclass(frozen=True, kw_only=True)
class Issue:
    """An instruction, the registers as it is issued, the rows in `PLANE`, and whether it fails."""

    one: Instruction
    position: int = 0
    rows: int = 1
    listed: tuple[int, ...] = ()
    fails: bool = False


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Lines ``line`` to ``line + lines - 1`` of K, or with ``value`` of V, of the last order."""

    value: int
    line: int
    lines: int


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What a sweep has to bring: by entry a token, its source, lines and exponents (K only)."""

    tokens: list[int]
    sources: NDArray[np.int64]
    lines: NDArray[np.uint16]
    exponents: NDArray[np.int64] | None


class Giver:
    """Offers the payloads of its queue, each not before its cycle."""

    def __init__(self, port: Any, idles: Callable[[], bool]):
        self.port, self.idles = port, idles
        self.queue: deque[tuple[int, Any]] = deque()
        self.handed: list[int] = []
        self._offers = False

    def drive(self, context: Any, cycle: int) -> None:
        if not self._offers:
            self._offers = bool(self.queue) and self.queue[0][0] <= cycle and not self.idles()
            context.set(self.port.valid, self._offers)
            if self._offers:
                payload = self.queue[0][1]
                raw = isinstance(payload, int)
                context.set(Value.cast(self.port.payload) if raw else self.port.payload, payload)

    def look(self, context: Any, cycle: int) -> bool:
        taken = self._offers and bool(context.get(self.port.ready))
        if taken:
            self.queue.popleft()
            self.handed.append(cycle)
            self._offers = False
        return taken


class Taker:
    """Takes payloads and hands them on; holds that one that waits stays as it is."""

    def __init__(self, port: Any, idles: Callable[[], bool], take: Callable[[Any], None]):
        self.port, self.idles, self.take = port, idles, take
        self.handed: list[int] = []
        self._ready = False
        self._waits: int | None = None

    def drive(self, context: Any, cycle: int) -> None:
        self._ready = not self.idles()
        context.set(self.port.ready, self._ready)

    def look(self, context: Any, cycle: int) -> bool:
        if not context.get(self.port.valid):
            assert self._waits is None, "a payload that waits stays"
            return False
        payload = context.get(Value.cast(self.port.payload))
        assert self._waits in (None, payload), "a payload that waits is held"
        self._waits = None if self._ready else payload
        if self._ready:
            self.handed.append(cycle)
            self.take(context.get(self.port.payload))
        return self._ready


class Port:
    """An HBM port: what it holds, and requests to write whose beats have not all come."""

    def __init__(self, content: Any, paired: bool):
        self.content, self.width = content, 2 if paired else 1
        self.asked: deque[tuple[int, int]] = deque()
        self.data: deque[Any] = deque()
        self.faulty = False

    def read(self, first: int, count: int) -> Iterator[Any]:
        """Return the beats of a request."""
        stop = first + count
        if not 0 < count <= len(self.content) - first:
            yield {"data": [0] * (4 * self.width), "error": 1, "last": 1}
            return
        for at in range(first, stop, self.width):
            pair = np.zeros((self.width, 32), np.uint8)
            pair[: stop - at] = self.content[at : min(at + self.width, stop)]
            words = pair.reshape(-1).view("<u8").tolist()
            yield {"data": words, "error": int(self.faulty), "last": int(at + self.width >= stop)}

    def write(self) -> Iterator[Any]:
        """Write what has come as a whole, and return the answers."""
        while self.asked and len(self.data) >= -(-self.asked[0][1] // self.width):
            first, count = self.asked.popleft()
            fits = 0 < count <= len(self.content) - first
            for at in range(first, first + count, self.width):
                self._write_beat(self.data.popleft(), at, min(self.width, first + count - at), fits)
            yield {"error": int(not fits)}

    def _write_beat(self, beat: Any, at: int, beats: int, fits: bool) -> None:
        words, strobe, *half = beat
        assert strobe == (1 << 8 * len(words)) - 1
        assert half == ([] if self.width == 1 else [int(beats == 1)])
        if fits:
            content = np.array(words, "<u8").view(np.uint8).reshape(-1, 32)
            self.content[at : at + beats] = content[:beats]
