"""The roofline: how many products a byte of HBM allows, and how many the array made of them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter

from hwroute.config import Variant
from hwroute.isa.fields import Unit
from hwroute.sim.performance.busy import stretches
from hwroute.sim.performance.generation import Performance
from hwroute.sim.performance.metrics import hbm_rate, product_rate
from hwroute.sim.performance.pictures.style import (
    LIGHT,
    new_figure,
    plain_axes,
    save,
)
from hwroute.sim.performance.pictures.work import (
    FFN,
    HEAD,
    PROJECTIONS,
    SCORES,
    VALUES,
    WORK_COLOURS,
    work_of,
)
from hwroute.sim.performance.result import Run

MARKERS = {
    FFN: ("o", 14),
    PROJECTIONS: ("s", 9),
    SCORES: ("^", 9),
    VALUES: ("v", 9),
    HEAD: ("D", 5),
}
"""Marker and size of each work of the array; those of matrices are often in one place."""
PREFILL, DECODE = "prefill", "decode"
GIGA, TERA = 1e9, 1e12


@dataclass(frozen=True, kw_only=True)
class Roofs:
    """What limits the machine.

    Parameters
    ----------
    int4, fp16
        Products a second of the array, FP16 times INT4 (weights) and FP16 times FP16 (K and V).
    peak, stream
        Bytes a second of the HBM ports: at the pins, and of long sequential reads.
    """

    int4: float
    fp16: float
    peak: float
    stream: float

    @classmethod
    def of(cls, performance: Performance) -> "Roofs":
        """Return the roofs of a machine on its board."""
        int4 = product_rate(performance)
        # A pair of columns of the aligned variant makes one of FP16 times FP16.
        halved = performance.setup.program.config.numerics.variant is Variant.ALIGNED
        return cls(
            int4=int4,
            fp16=int4 / 2 if halved else int4,
            peak=performance.peak,
            stream=hbm_rate(performance),
        )


@dataclass(frozen=True, kw_only=True)
class Point:
    """A work of the array in prefill or in decode.

    Parameters
    ----------
    products, hbm_bytes, seconds
        Multiplications that were needed, bytes that HBM moved for them, and the time in which this
        was the oldest work that the array had.
    """

    products: int
    hbm_bytes: int
    seconds: float

    @property
    def intensity(self) -> float:
        """Products a byte; infinite where all came from the history buffer."""
        return self.products / self.hbm_bytes if self.hbm_bytes else np.inf

    @property
    def rate(self) -> float:
        """Products a second."""
        return self.products / self.seconds


def points(performance: Performance) -> dict[tuple[str, str], Point]:
    """Return the point of each phase (PREFILL, DECODE) and work that it has."""
    phases = {PREFILL: [performance.prefill], DECODE: list(performance.steps.values())}
    found = {}
    for phase, runs in phases.items():
        for work in MARKERS:
            point = _point(performance, runs, work)
            if point.products:
                found[phase, work] = point
    return found


def _point(performance: Performance, runs: list[Run], work: str) -> Point:
    program, cycles, products, size = performance.setup.program, 0.0, 0, 0
    for run in runs:
        cycles += sum(
            part.end - part.start
            for part in stretches(run)[Unit.ARRAY]
            if work_of(program, part.event) == work
        )
        mine = [event for event in run.events if work_of(program, event) == work]
        products += sum(event.products for event in mine)
        size += sum(event.moved.get(kind, 0) for event in mine for kind in ("weights", "kv_read"))
    return Point(products=products, hbm_bytes=size, seconds=cycles / performance.hertz)


def draw_roofline(performance: Performance, folder: Path) -> list[Path]:
    """Draw the roofs and a point for each phase and work."""
    figure = new_figure(9, 5, performance)
    axes = figure.subplots()
    plain_axes(axes)
    roofs, found = Roofs.of(performance), points(performance)
    limits = _limits(roofs, found)
    _draw_roofs(axes, roofs, limits)
    for (phase, work), point in found.items():
        axes.plot(min(point.intensity, limits[1]), point.rate, **_look(phase, work))
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(*limits)
    lowest = min(point.rate for point in found.values())
    axes.set_ylim(lowest / 1.6, roofs.int4 * 1.6)
    axes.set_xlabel("products a byte from HBM")
    axes.set_ylabel("products a second")
    for axis, form in ((axes.xaxis, "{x:g}"), (axes.yaxis, _in_words)):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(form)
        axis.set_minor_formatter(NullFormatter())
    axes.grid(which="major", color=LIGHT, linewidth=0.7)
    _name(axes, found)
    return save(figure, folder, "roofline")


def _look(phase: str, work: str) -> dict[str, Any]:
    """Return how a point looks: filled in prefill, hollow in decode."""
    colour, (marker, size) = WORK_COLOURS[work], MARKERS[work]
    return {
        "marker": marker,
        "markersize": size,
        "linestyle": "none",
        "markeredgecolor": colour,
        "markeredgewidth": 1.8,
        "markerfacecolor": colour if phase == PREFILL else "none",
    }


def _name(axes: Axes, found: dict[tuple[str, str], Point]) -> None:
    """Draw the legend: points, then roofs."""
    lines = [line for line in axes.lines if not str(line.get_label()).startswith("_")]
    handles = [Line2D([], [], **_look(phase, work)) for phase, work in found]
    names = [f"{work}, {phase}" for phase, work in found]
    axes.legend(
        [*handles, *lines],
        [*names, *(str(line.get_label()) for line in lines)],
        frameon=False,
        loc="upper left",
        bbox_to_anchor=(1, 1),
        fontsize=9,
        labelspacing=0.7,
    )


def _in_words(value: float, _: object) -> str:
    """Return a number of products a second."""
    return f"{value / TERA:g} T" if value >= TERA else f"{value / GIGA:g} G"


def _limits(roofs: Roofs, found: dict[tuple[str, str], Point]) -> tuple[float, float]:
    """Return the range of intensities: all points, and both sides of the ridges."""
    known = [point.intensity for point in found.values() if np.isfinite(point.intensity)]
    ridges = [roofs.fp16 / roofs.peak, roofs.int4 / roofs.stream]
    return min(known + ridges) / 3, max(known + ridges) * 3


def _draw_roofs(axes: Axes, roofs: Roofs, limits: tuple[float, float]) -> None:
    """Draw flat roofs, named where points are fewest, and slanted ones."""
    low, high = limits
    for rate, name, at, place in (
        (roofs.int4, "FP16 by INT4", roofs.int4 / roofs.peak, ("left", 6)),
        (roofs.fp16, "FP16 by FP16", high, ("right", -8)),
    ):
        axes.plot([rate / roofs.peak, high], [rate, rate], color="black", linewidth=1.2)
        text = f" array, {name}: {rate / TERA:.3g} T/s "
        axes.annotate(
            text,
            (at, rate),
            xytext=(0, place[1]),
            textcoords="offset points",
            ha=place[0],
            va="center",
            fontsize=8,
        )
    for rate, style, name in (
        (roofs.peak, "-", "HBM at its pins"),
        (roofs.stream, "--", "HBM, long reads"),
    ):
        axes.plot(
            [low, roofs.int4 / rate],
            [rate * low, roofs.int4],
            color="black",
            linewidth=1.2,
            linestyle=style,
            label=f"{name}: {rate / GIGA:.1f} GB/s",
        )
