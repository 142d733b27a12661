"""A memory behind an AXI port, for Amaranth's simulator.

`sim/verilog/hwroute_axi_memory.v` is the same for Verilator.
"""

from collections import deque
from dataclasses import dataclass
from random import Random
from typing import Any

from amaranth.hdl import Value

from hwroute.rtl.axi import BURST_BYTES, AxiPort, Response

PAGE_BYTES = 4096
"""No burst may cross a multiple of it."""


@dataclass(frozen=True, kw_only=True)
class MemoryTiming:
    """How slow a memory is.

    Parameters
    ----------
    latency
        Cycles from an address (or a burst's last data) to the first that answers it; at least 1.
    stall
        Chance, for each channel and cycle, that the memory is not ready or does not answer.
    seed
        Of the stalls.
    """

    latency: int = 1
    stall: float = 0.0
    seed: int = 1


class AxiMemory:
    """Contents, and the process that serves a port.

    Parameters
    ----------
    axi
        The streams of `hwroute.rtl.axi.AxiPort.signature`; a missing channel is left alone.
    port
        Widths.
    content
        Bytes, changed in place; an address beyond them is answered with DECERR.
    timing
        How slow it is.
    bad
        Byte addresses that are answered with SLVERR.
    domain
        Clock domain.

    Members
    -------
    bursts
        Byte address and beats of every burst to read, in order.
    write_bursts
        The same of every burst to write.

    Raises
    ------
    AssertionError
        While it runs: a burst breaks a rule, or data end in another beat than the address said.
    """

    def __init__(
        self,
        axi: Any,
        port: AxiPort,
        content: bytearray,
        *,
        timing: MemoryTiming | None = None,
        bad: range = range(0),
        domain: str = "sync",
    ):
        self.axi, self.port, self.content, self.bad = axi, port, content, bad
        self.timing = timing or MemoryTiming()
        self.domain = domain
        self.bursts: list[tuple[int, int]] = []
        self.write_bursts: list[tuple[int, int]] = []
        self._random = Random(self.timing.seed)

    def _stalls(self) -> bool:
        return self._random.random() < self.timing.stall

    async def serve_reads(self, context: Any) -> None:
        """Serve AR and R for ever."""
        ar, r = self.axi.ar, self.axi.r
        beats: deque[tuple[int, int, bool]] = deque()
        cycle, offered = 0, False
        while True:
            ready = not self._stalls()
            context.set(ar.ready, ready)
            # What is offered stays so until it is taken.
            if not offered and beats and beats[0][0] <= cycle and not self._stalls():
                offered = True
                self._offer(context, *beats[0][1:])
            context.set(r.valid, offered)
            asked = ar.payload
            _, reset, valid, address, length, taken = await context.tick(self.domain).sample(
                ar.valid, asked.address, asked.length, r.ready
            )
            cycle += 1
            if reset:
                beats.clear()
                offered = False
                continue
            if ready and valid:
                self._check(address, length + 1)
                self.bursts.append((address, length + 1))
                for beat in range(length + 1):
                    place = address + beat * self.port.data_bytes
                    beats.append((cycle + self.timing.latency - 1, place, beat == length))
            if offered and taken:
                beats.popleft()
                offered = False

    def _offer(self, context: Any, address: int, last: bool) -> None:
        payload = self.axi.r.payload
        response = self._response(address)
        size = self.port.data_bytes
        # A failed read must not look like data.
        octets = self.content[address : address + size] if response is Response.OKAY else b""
        context.set(Value.cast(payload.data), int.from_bytes(octets, "little"))
        context.set(payload.response, response)
        context.set(payload.last, last)

    async def serve_writes(self, context: Any) -> None:
        """Serve AW, W and B for ever."""
        aw, w, b = self.axi.aw, self.axi.w, self.axi.b
        waiting: deque[tuple[int, int]] = deque()
        data: deque[tuple[int, int, bool]] = deque()
        answers: deque[tuple[int, Response]] = deque()
        cycle, offered = 0, False
        while True:
            ready, ready_for_data = not self._stalls(), not self._stalls()
            context.set(aw.ready, ready)
            context.set(w.ready, ready_for_data)
            if not offered and answers and answers[0][0] <= cycle and not self._stalls():
                offered = True
                context.set(b.payload, answers[0][1])
            context.set(b.valid, offered)
            _, reset, *seen = await context.tick(self.domain).sample(
                aw.valid, aw.payload.address, aw.payload.length, b.ready,
                w.valid, Value.cast(w.payload.data), w.payload.strobe, w.payload.last,
            )  # fmt: skip
            valid, address, length, taken, given, *beat = seen
            cycle += 1
            if reset:
                for queue in (waiting, data, answers):
                    queue.clear()
                offered = False
                continue
            if ready and valid:
                self._check(address, length + 1)
                self.write_bursts.append((address, length + 1))
                waiting.append((address, length + 1))
            if ready_for_data and given:
                data.append((beat[0], beat[1], bool(beat[2])))
            if offered and taken:
                answers.popleft()
                offered = False
            if waiting and len(data) >= waiting[0][1]:
                place, count = waiting.popleft()
                written = [data.popleft() for _ in range(count)]
                answers.append((cycle + self.timing.latency - 1, self._write(place, written)))

    def _write(self, address: int, beats: list[tuple[int, int, bool]]) -> Response:
        """Write a burst, but nothing of one that fails; return the answer."""
        size = self.port.data_bytes
        places = range(address, address + len(beats) * size, size)
        answers = [self._response(place) for place in places]
        worst = max(answers, key=lambda answer: answer.value)
        for index, (place, (data, strobe, last)) in enumerate(zip(places, beats, strict=True)):
            assert last == (index == len(beats) - 1), "W must end where AW says"
            if worst is Response.OKAY:
                octets = data.to_bytes(size, "little")
                for byte in range(size):
                    if strobe >> byte & 1:
                        self.content[place + byte] = octets[byte]
        return worst

    def _response(self, address: int) -> Response:
        if address + self.port.data_bytes > len(self.content):
            return Response.DECERR
        return Response.SLVERR if address in self.bad else Response.OKAY

    def _check(self, address: int, beats: int) -> None:
        size = self.port.data_bytes
        end = address + beats * size - 1
        assert address % size == 0, f"address must be that of a beat, not {address:#x}"
        assert beats * size <= BURST_BYTES, f"burst must be at most {BURST_BYTES} bytes, not more"
        assert address // PAGE_BYTES == end // PAGE_BYTES, f"burst at {address:#x} crosses a page"
