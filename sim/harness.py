"""Wrap a unit so that all its streams are fed and drained inside the simulator, from files."""

from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Cat, ClockSignal, Instance, Module, ResetSignal, Shape, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out


@dataclass(frozen=True, kw_only=True)
class Ports:
    """The top-level members of a unit by kind.

    Parameters
    ----------
    sources, sinks
        Shapes of the payloads of its input and output streams, by name.
    settings, results
        Shapes of its plain inputs and outputs, by name.
    """

    sources: dict[str, Any]
    sinks: dict[str, Any]
    settings: dict[str, Any]
    results: dict[str, Any]

    @classmethod
    def of(cls, unit: wiring.Component) -> "Ports":
        """Read the ports of `unit` from its signature; refuse nested interfaces."""
        ports = cls(sources={}, sinks={}, settings={}, results={})
        for name, member in unit.signature.members.items():
            inward = member.flow is In
            if member.is_port:
                (ports.settings if inward else ports.results)[name] = member.shape
            elif isinstance(member.signature, stream.Signature) and not member.dimensions:
                shape = member.signature.members["payload"].shape
                (ports.sources if inward else ports.sinks)[name] = shape
            else:
                raise TypeError(f"Harness member must be a stream or a port, not {name!r}")
        return ports


class StreamHarness(wiring.Component):
    """A unit between Verilog stream sources and sinks; for simulation only.

    Members
    -------
    stall_in, stall_out
        Chance in 256 that a source idles, or a sink is not ready, in a cycle.
    seed
        Of the stalls; every stream derives its own from it.
    done
        Every sink has received as many payloads as it was told to expect.
    cycle
        Clock cycles since reset.

    Besides these, every plain port of the unit under its own name.
    """

    def __init__(self, unit: wiring.Component):
        self.unit = unit
        self.ports = Ports.of(unit)
        members: dict[str, Any] = {
            "stall_in": In(8),
            "stall_out": In(8),
            "seed": In(32),
            "done": Out(1),
            "cycle": Out(64),
        }
        members |= {name: In(shape) for name, shape in self.ports.settings.items()}
        members |= {name: Out(shape) for name, shape in self.ports.results.items()}
        super().__init__(members)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.unit = self.unit
        for name in self.ports.settings:
            m.d.comb += Value.cast(getattr(self.unit, name)).eq(getattr(self, name))
        for name in self.ports.results:
            m.d.comb += Value.cast(getattr(self, name)).eq(getattr(self.unit, name))
        m.d.sync += self.cycle.eq(self.cycle + 1)
        streams = [*self.ports.sources, *self.ports.sinks]
        done = []
        for index, name in enumerate(streams):
            finished = Signal(name=f"done_{name}")
            is_source = name in self.ports.sources
            m.submodules[f"stream_{name}"] = self._endpoint(name, index, is_source, finished)
            if not is_source:
                done.append(finished)
        m.d.comb += self.done.eq(Cat(done).all())
        return m

    def _endpoint(self, name: str, index: int, is_source: bool, finished: Signal) -> Instance:
        port = getattr(self.unit, name)
        kind = "source" if is_source else "sink"
        payload = Value.cast(port.payload)
        directions = (
            {"o_valid": port.valid, "i_ready": port.ready, "o_payload": payload}
            if is_source
            else {
                "i_valid": port.valid,
                "o_ready": port.ready,
                "i_payload": payload,
                "o_done": finished,
            }
        )
        return Instance(
            f"hwroute_stream_{kind}",
            p_WIDTH=Shape.cast(payload.shape()).width,
            p_NAME=name,
            i_clk=ClockSignal(),
            i_rst=ResetSignal(),
            i_cycle=self.cycle,
            i_stall=self.stall_in if is_source else self.stall_out,
            i_seed=self.seed ^ (0x9E3779B9 * (index + 1) & 0xFFFFFFFF),
            **directions,
        )
