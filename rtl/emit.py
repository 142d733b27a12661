"""Turn a component into Verilog, the same text every time."""

from pathlib import Path
from typing import Any

from amaranth.back import verilog
from amaranth.lib import wiring

LIBRARY = Path(__file__).parent / "verilog"
"""Hand-written Verilog that emitted modules instantiate."""


def emit(component: wiring.Component, name: str) -> str:
    """Return the Verilog of `component` with top module `name`.

    Source locations are left out: they would put absolute paths into the text.
    """
    ports: Any = component
    return str(verilog.convert(ports, name=name, emit_src=False, strip_internal_attrs=True))


def library_files() -> list[Path]:
    """Return the hand-written Verilog files, sorted by name."""
    return sorted(LIBRARY.glob("*.v"))
