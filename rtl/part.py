"""Parts: components that are emitted as one Verilog module and placed many times.

Amaranth writes a module for every instance; for the columns of a large array that would be a
hundred copies of the same text.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from amaranth.hdl import ClockSignal, Instance, ResetSignal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In


def domains_of(component: wiring.Component) -> tuple[str, ...]:
    """Return the clock domains of a component: ``sync``, then those in its attribute `DOMAINS`."""
    return ("sync", *getattr(component, "DOMAINS", ()))


_placed: ContextVar[dict[str, wiring.Component] | None] = ContextVar("placed", default=None)


class Part(wiring.Component):
    """One placement of a component that `hwroute.rtl.emit.emit` writes once.

    Has the members of the component.

    Parameters
    ----------
    module
        Name of the Verilog module.
    component
        What to place: the same object in every part of that name.

    Raises
    ------
    ValueError
        Another component was placed under the same name.
    """

    def __init__(self, module: str, component: wiring.Component):
        self.module = module
        self.component = component
        super().__init__(dict(component.signature.members))

    def elaborate(self, platform: Any) -> Instance:
        placed = _placed.get()
        if placed is not None and placed.setdefault(self.module, self.component) is not (
            self.component
        ):
            raise ValueError(f"Part must be the component placed before, not {self.module!r} anew")
        ports: dict[str, Any] = {}
        for domain in domains_of(self.component):
            prefix = "" if domain == "sync" else f"{domain}_"
            ports[f"i_{prefix}clk"] = ClockSignal(domain)
            ports[f"i_{prefix}rst"] = ResetSignal(domain)
        for path, member, value in self.signature.flatten(self):
            direction = "i" if member.flow is In else "o"
            ports[f"{direction}_{'__'.join(map(str, path))}"] = Value.cast(value)
        return Instance(self.module, **ports)


@contextmanager
def collect_parts() -> Iterator[dict[str, wiring.Component]]:
    """Collect the components, by module name, of the parts that are elaborated meanwhile."""
    token = _placed.set({})
    try:
        collected = _placed.get()
        assert collected is not None
        yield collected
    finally:
        _placed.reset(token)
