"""Where the bytes go: what each memory moves, by kind, in prefill and in decode."""

from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes

from hwroute.sim.performance.generation import Performance
from hwroute.sim.performance.metrics import ddr_rate
from hwroute.sim.performance.pictures.style import (
    BLUE,
    GREEN,
    YELLOW,
    name_rows,
    new_figure,
    part_rows,
    plain_axes,
    save,
)
from hwroute.sim.performance.result import Traffic

HBM, DDR, BUFFER = "HBM", "DDR", "history buffer"
COLOURS = {HBM: BLUE, DDR: GREEN, BUFFER: YELLOW}
KINDS = {
    "weights": (HBM, "weights"),
    "dropped": (HBM, "weights dropped"),
    "kv_read": (HBM, "K and V read"),
    "kv_written": (HBM, "K and V written"),
    "scales": (DDR, "scales of weights"),
    "dropped_scales": (DDR, "scales dropped"),
    "ddr_read": (DDR, "loads"),
    "ddr_written": (DDR, "stores"),
    "program": (DDR, "instructions"),
    "kv_hits": (BUFFER, "K and V read"),
}
"""Memory and words of each kind of `Traffic`."""
SMALL = 5e-4
"""MB a token below which, in prefill and in decode, a kind is not drawn."""


@dataclass(frozen=True, kw_only=True)
class Phase:
    """Prefill or decode.

    Parameters
    ----------
    name
        What stands above it.
    traffic, seconds, tokens
        Bytes, the time that they take, and tokens.
    """

    name: str
    traffic: Traffic
    seconds: float
    tokens: int

    def gb_s(self, kind: str) -> float:
        """Return the rate of a kind, in GB/s."""
        return self.traffic.kinds[kind] / self.seconds / 1e9

    def used(self, memory: str, limits: dict[str, float]) -> float:
        """Return the share of a memory's peak that all its kinds take."""
        rates = [self.gb_s(kind) for kind, (where, _) in KINDS.items() if where == memory]
        return sum(rates) / limits[memory]

    def megabytes(self, kind: str) -> float:
        """Return the bytes of a kind for each token, in MB."""
        return self.traffic.kinds[kind] / self.tokens / 1e6


def phases_of(performance: Performance) -> list[Phase]:
    """Return prefill, and decode unless there is none."""
    prompt, steps = performance.setup.workload.prompt, len(performance.cycles)
    prefill = Phase(
        name=f"prompt of {prompt} tokens",
        traffic=performance.prefill.traffic,
        seconds=performance.prefill_seconds,
        tokens=prompt,
    )
    if not steps:
        return [prefill]
    decode = Phase(
        name=f"decode of {steps} tokens",
        traffic=performance.traffic,
        seconds=performance.decode_seconds,
        tokens=steps,
    )
    return [prefill, decode]


def peaks(performance: Performance) -> dict[str, float]:
    """Return the peak of the ports of each memory that the machine has, in GB/s."""
    kv = performance.setup.program.config.kv
    buffer = kv.buffer_read_ports * kv.beat_bits / 8 * performance.hertz
    rates = {HBM: performance.peak, DDR: ddr_rate(performance), BUFFER: buffer}
    return {memory: rate / 1e9 for memory, rate in rates.items()}


def draw_bandwidth(performance: Performance, folder: Path) -> list[Path]:
    """Draw a bar for each kind of bytes, as a share of the peak of its memory's ports."""
    phases = phases_of(performance)
    kinds = [kind for kind in KINDS if any(one.megabytes(kind) >= SMALL for one in phases)]
    limits = peaks(performance)
    groups = {memory: f"{memory}\n{peak:.1f} GB/s" for memory, peak in limits.items()}
    rows = [(groups[memory], name) for memory, name in (KINDS[kind] for kind in kinds)]
    figure = new_figure(3 + 4 * len(phases), 1.8 + 0.3 * len(kinds), performance)
    grid = figure.subplots(1, len(phases), sharey=True, sharex=True, squeeze=False)[0]
    for axes, phase in zip(grid, phases, strict=True):
        plain_axes(axes, grid="x")
        for place, kind in enumerate(kinds):
            _bar(axes, place, kind, phase, limits[KINDS[kind][0]])
        part_rows(axes, rows)
        used = [f"{memory} {phase.used(memory, limits):.1%}" for memory in (HBM, DDR)]
        axes.set_title(f"{phase.name}: {', '.join(used)}", fontsize=10)
        axes.set_xlim(0, 100)
        axes.set_xlabel("share of the peak of the memory's ports, %")
    name_rows(grid[0], rows, {groups[one]: colour for one, colour in COLOURS.items()})
    return save(figure, folder, "bandwidth")


def _figure(value: float) -> str:
    """Return three digits, or the whole number where it has more."""
    return f"{value:,.0f}" if value >= 100 else f"{value:#.3g}"


def _bar(axes: Axes, place: int, kind: str, phase: Phase, peak: float) -> None:
    """Draw the bar of a kind; its figures stand where there is room."""
    rate, size = phase.gb_s(kind), phase.megabytes(kind)
    percent, inside = 100 * rate / peak, rate > peak / 2
    axes.barh(place, percent, height=0.7, color=COLOURS[KINDS[kind][0]])
    text = f" {_figure(rate)} GB/s, {_figure(size)} MB a token " if size else " -"
    axes.text(
        percent,
        place,
        text,
        va="center",
        ha="right" if inside else "left",
        color="white" if inside else "black",
        fontsize=8,
    )
