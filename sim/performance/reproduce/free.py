"""Which parameters are free, where they come from, and how each is moved."""

from dataclasses import replace
from typing import Any

from hwroute.isa.fields import LINE_BYTES
from hwroute.sim.device import ATOM_BYTES, Device
from hwroute.sim.performance.parameters import Parameters
from hwroute.sim.performance.reproduce.cases import Case
from hwroute.sim.performance.reproduce.sources import leaves, sources

STEP = 0.1
"""Share by which a parameter is moved."""
QUANTA = {
    "port_fifo_bytes": LINE_BYTES,
    "mechanisms.kv_bits": 8,
    "device.hbm.burst_bytes": ATOM_BYTES,
}
"""What some sizes are multiples of."""
TIED = {"device.hbm.port_mhz": "device.hbm.dram_mhz"}
"""The DRAM's clock is a multiple of the port's, so both move."""
FIXED = (
    "device.format",
    "device.logic.",
    "device.hbm.channels",
    "device.hbm.channel_bytes",
    "device.hbm.port_bits",
    "device.hbm.dram_mhz",
    "device.hbm.address.",
    "device.ddr.port_bits",
)
"""Numbers of a board that are none of its speed, or that another one moves."""


def free(case: Case) -> list[tuple[str, Any, str]]:
    """Return path, value and source of every free parameter that is a number or a switch."""
    known = sources(case.board)
    own = list(leaves(case.parameters))
    board = [(f"device.{path}", value) for path, value in leaves(case.device)]
    return [
        (path, value, known[path] if path in known else known[path.partition(".")[0]])
        for path, value in [*own, *board]
        if isinstance(value, int | float) and not path.startswith(FIXED)
    ]


def neighbours(value: Any, quantum: int = 1) -> list[Any]:
    """Return a value a tenth below and above; of a whole number by a quantum at least.

    Of a switch the other way; a whole number stays above 0.
    """
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, float):
        return [value * (1 - STEP), value * (1 + STEP)]
    step = quantum * max(1, round(STEP * value / quantum))
    return [one for one in (value - step, value + step) if one > 0]


def moved(case: Case, name: str, value: Any, other: Any) -> tuple[Parameters, Device]:
    """Return parameters and device with another value of one of them."""
    changes = {name: other}
    if name in TIED:
        tied = dict(leaves(case.device))[TIED[name].removeprefix("device.")]
        changes[TIED[name]] = tied * other // value
    device = {
        path.removeprefix("device."): one
        for path, one in changes.items()
        if path.startswith("device.")
    }
    own = {path: one for path, one in changes.items() if not path.startswith("device.")}
    return _replaced(case.parameters, own), _replaced(case.device, device)


def _replaced(thing: Any, changes: dict[str, Any]) -> Any:
    """Return a dataclass with other values of fields, at any depth, by path."""
    inner: dict[str, dict[str, Any]] = {}
    own = {}
    for path, value in changes.items():
        name, _, rest = path.partition(".")
        if rest:
            inner.setdefault(name, {})[rest] = value
        else:
            own[name] = value
    deep = {name: _replaced(getattr(thing, name), parts) for name, parts in inner.items()}
    return replace(thing, **own, **deep)
