"""Turn a component into Verilog, the same text every time."""

from pathlib import Path
from typing import Any

from amaranth.back import verilog
from amaranth.hdl import ClockDomain, Fragment, Value
from amaranth.hdl._ir import PortDirection  # what `convert` itself gives to ports
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from hwroute.rtl.part import collect_parts, domains_of

LIBRARY = Path(__file__).parent / "verilog"
"""Hand-written Verilog that emitted modules instantiate."""


def emit(component: wiring.Component, name: str) -> str:
    """Return the Verilog of `component` with top module `name`, then that of its parts.

    Source locations are left out: they would put absolute paths into the text.
    """
    with collect_parts() as parts:
        texts = {name: _convert(component, name)}
        while waiting := [part for part in parts if part not in texts]:
            texts |= {part: _keep(_convert(parts[part], part), part) for part in waiting}
    return "\n".join(texts.values())


def _keep(text: str, name: str) -> str:
    """Ask Verilator not to inline a part: compiling every placement of it takes minutes."""
    ports = text.index(f"\nmodule {name}(")
    body = text.index(");\n", ports) + len(");\n")
    return f"{text[:body]}  /*verilator no_inline_module*/\n{text[body:]}"


def _convert(component: wiring.Component, name: str) -> str:
    """Return the Verilog of one component.

    Amaranth adds the domains that it misses in the order of a set, which is another in every run:
    it is left no more than one to miss.
    """
    ports: dict[str, Any] = {}
    for path, member, value in component.signature.flatten(component):
        flow = PortDirection.Input if member.flow is In else PortDirection.Output
        ports["__".join(map(str, path))] = (Value.cast(value), flow)
    fragment = Fragment.get(component, None)
    for domain in map(ClockDomain, domains_of(component)[1:]):
        fragment.add_domains(domain)
        for signal in (domain.clk, domain.rst):
            ports[signal.name] = (signal, PortDirection.Input)
    options: Any = {"emit_src": False, "strip_internal_attrs": True}
    return str(verilog.convert(fragment, name=name, ports=ports, **options))


def library_files() -> list[Path]:
    """Return the hand-written Verilog files for synthesis and simulation, sorted by name."""
    return sorted(LIBRARY.glob("*.v"))


def simulation_files() -> list[Path]:
    """Return the models of vendor primitives, for simulation only, sorted by name."""
    return sorted((LIBRARY / "sim").glob("*.v"))
