"""Run a unit in Amaranth's own simulator on arrays of payloads: slow per cycle, but never built."""

from collections.abc import Callable, Mapping
from random import Random
from typing import Any

import numpy as np
from amaranth.hdl import Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In
from amaranth.sim import Simulator

from hwroute.errors import HwrouteError
from hwroute.sim.payloads import pack, unpack, width_of
from hwroute.sim.units import Run

DRAIN_CYCLES = 16


class _Source:
    """Offers payloads in order, idling at random."""

    def __init__(self, port: Any, raw: Any, idle: Random, stall: float):
        self.port = port
        self.payloads = [int.from_bytes(row.tobytes(), "little") for row in raw]
        self.cycles: list[int] = []
        self._idle, self._stall = idle, stall
        self._offers = False

    def drive(self, context: Any) -> None:
        if not self._offers and len(self.cycles) < len(self.payloads):
            self._offers = self._idle.random() >= self._stall
            if self._offers:
                context.set(Value.cast(self.port.payload), self.payloads[len(self.cycles)])
        context.set(self.port.valid, self._offers)

    def sample(self, cycle: int, ready: int) -> None:
        if self._offers and ready:
            self.cycles.append(cycle)
            self._offers = False


class _Sink:
    """Takes payloads, at random not ready, and sees that they wait unchanged."""

    def __init__(self, name: str, port: Any, idle: Random, stall: float):
        self.name, self.port = name, port
        self.payloads: list[int] = []
        self.cycles: list[int] = []
        self._idle, self._stall = idle, stall
        self._ready = False
        self._waiting: int | None = None

    def drive(self, context: Any) -> None:
        self._ready = self._idle.random() >= self._stall
        context.set(self.port.ready, self._ready)

    def sample(self, cycle: int, valid: int, payload: int) -> None:
        if self._waiting is not None and (not valid or payload != self._waiting):
            raise HwrouteError(f"stream {self.name} must hold what waits (cycle {cycle})")
        self._waiting = payload if valid and not self._ready else None
        if valid and self._ready:
            self.payloads.append(payload)
            self.cycles.append(cycle)

    def values(self) -> Any:
        shape = self.port.payload.shape()
        octets = (width_of(shape) + 7) // 8
        joined = b"".join(one.to_bytes(octets, "little") for one in self.payloads)
        return unpack(shape, np.frombuffer(joined, np.uint8).reshape(-1, octets))


def simulate_streams(
    unit: wiring.Component,
    inputs: Mapping[str, Any],
    expect: Mapping[str, int],
    *,
    settings: Mapping[str, int] | None = None,
    stall: float = 0.0,
    seed: int = 1,
    max_cycles: int = 100_000,
    observe: Callable[[Any], None] = lambda _context: None,
) -> Run:
    """Do what `hwroute.sim.units.UnitSimulation.run` does, in Amaranth's simulator.

    The run ends when every input is accepted, too. Streams inside interfaces are named with dots:
    ``read_dma.request``. Inputs left out stay idle.

    Parameters
    ----------
    unit
        A component of streams, interfaces of streams and plain ports.
    inputs, expect, settings, stall, seed, max_cycles
        As there.
    observe
        Called after every clock edge with the simulator's context, to look at other signals.

    Raises
    ------
    HwrouteError
        The unit hung, changed a payload that waited, or sent too much.
    """
    ports = dict(_streams(unit))
    sources = {
        name: _Source(
            port, pack(port.payload.shape(), inputs[name]), Random(f"{seed} {name}"), stall
        )
        for name, (port, inward) in ports.items()
        if inward and name in inputs
    }
    sinks = {
        name: _Sink(name, port, Random(f"{seed} {name}"), stall)
        for name, (port, inward) in ports.items()
        if not inward
    }
    ends: list[_Source | _Sink] = [*sources.values(), *sinks.values()]
    results: dict[str, int] = {}
    cycles = 0

    async def bench(context: Any) -> None:
        nonlocal cycles
        for name, value in (settings or {}).items():
            context.set(Value.cast(getattr(unit, name)), value)
        left = DRAIN_CYCLES
        while left:
            for end in ends:
                end.drive(context)
            sampled = [source.port.ready for source in sources.values()]
            for sink in sinks.values():
                sampled += [sink.port.valid, Value.cast(sink.port.payload)]
            _, _, *values = await context.tick().sample(*sampled)
            _sample(cycles, sources, sinks, values)
            observe(context)
            cycles += 1
            if cycles == max_cycles:
                raise HwrouteError(f"the unit was not done after {max_cycles} cycles")
            sent = all(len(source.cycles) == len(source.payloads) for source in sources.values())
            got = all(len(sink.cycles) >= expect.get(name, 0) for name, sink in sinks.items())
            if sent and got:
                left -= 1
        for name, member in unit.signature.members.items():
            if member.is_port and member.flow is not In:
                results[name] = context.get(Value.cast(getattr(unit, name)))

    simulator = Simulator(unit)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    for name, sink in sinks.items():
        if len(sink.payloads) != expect.get(name, 0):
            raise HwrouteError(
                f"stream {name} must send {expect.get(name, 0)} payloads, not {len(sink.payloads)}"
            )
    return Run(
        outputs={name: sink.values() for name, sink in sinks.items()},
        out_cycles={name: np.array(sink.cycles, np.int64) for name, sink in sinks.items()},
        in_cycles={name: np.array(source.cycles, np.int64) for name, source in sources.items()},
        results=results,
        cycles=cycles,
    )


def _sample(
    cycle: int, sources: dict[str, _Source], sinks: dict[str, _Sink], values: list[int]
) -> None:
    """Tell every end what it saw before the clock edge."""
    for source, ready in zip(sources.values(), values[: len(sources)], strict=True):
        source.sample(cycle, ready)
    rest = values[len(sources) :]
    for sink, valid, payload in zip(sinks.values(), rest[0::2], rest[1::2], strict=True):
        sink.sample(cycle, valid, payload)


def _streams(unit: wiring.Component) -> Any:
    """Yield the name of every stream of `unit`, and the stream with whether it goes inward."""
    for name, member in unit.signature.members.items():
        if not member.is_signature:
            continue
        if isinstance(member.signature, stream.Signature):
            yield name, (getattr(unit, name), member.flow is In)
            continue
        for part, inner in member.signature.members.items():
            yield f"{name}.{part}", (getattr(getattr(unit, name), part), inner.flow is In)
