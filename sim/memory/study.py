"""What the HBM model gives beside what was measured: ``python -m hwroute.sim.memory.study``.

Writes hbm.md, hbm.json and hbm.png to the folder behind ``--out``.
"""

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import click

from hwroute import provenance
from hwroute.picture import save_picture
from hwroute.sim.device import Hbm, load_device
from hwroute.sim.memory.closed_form import stream_share
from hwroute.sim.memory.measure import (
    idle_cycles,
    pattern_gb_s,
    random_pattern,
    sequential_gb_s,
    strided_pattern,
)

SIZES = (32, 64, 128, 256, 512)
STRIDES = (32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536)
SEED, COUNT, OUTSTANDING = 1, 2000, 32


@dataclass(frozen=True, kw_only=True)
class Row:
    """One quantity.

    Parameters
    ----------
    what, unit
        Quantity and unit.
    model, measured
        Ours, and what was published of a board ("" for nothing).
    """

    what: str
    unit: str
    model: float
    measured: str = ""


def rows(hbm: Hbm) -> list[Row]:
    """Measure the model as boards were measured."""
    closed, hit, conflict = idle_cycles(hbm)
    peak = hbm.channel_gb_s

    def random_share(size: int, outstanding: int, device: Hbm = hbm) -> float:
        pattern = random_pattern(device, size, SEED)
        rate = pattern_gb_s(device, pattern, size=size, count=COUNT, outstanding=outstanding)
        return 100 * rate / peak

    def write_share(run: int) -> float:
        pattern = strided_pattern(hbm, 512)
        rate = pattern_gb_s(
            hbm,
            pattern,
            size=512,
            count=COUNT,
            outstanding=OUTSTANDING,
            writes=lambda number: number // run % 2,
        )
        return 100 * rate / peak

    lateral = pattern_gb_s(
        hbm, strided_pattern(hbm, 512), size=512, count=COUNT, outstanding=OUTSTANDING, channel=5
    )
    return [
        Row(what="idle read, open page (input)", unit="port cycles", model=hit, measured="48"),
        Row(what="idle read, closed (input)", unit="port cycles", model=closed, measured="55"),
        Row(what="idle read, conflict (input)", unit="port cycles", model=conflict, measured="62"),
        Row(
            what="32 ports in sequence",
            unit="GB/s",
            model=sequential_gb_s(hbm, ports=hbm.channels, size=400 * 512),
            measured="425 (Shuhai), 421.3 (vendor's example)",
        ),
        Row(what="the same in closed form", unit="GB/s", model=stream_share(hbm) * hbm.peak_gb_s),
        Row(
            what="random 128 B, 64 on their way",
            unit="% of a channel",
            model=random_share(128, 64),
            measured="about 80",
        ),
        *(
            Row(
                what=f"the same, controller choosing among {window}",
                unit="% of a channel",
                model=random_share(128, 64, replace(hbm, reorder=window)),
            )
            for window in (4, 16)
        ),
        Row(
            what="random 512 B, 16 on their way", unit="% of a channel", model=random_share(512, 16)
        ),
        Row(what="read and write by turns, 512 B", unit="% of a channel", model=write_share(1)),
        Row(what="16 reads, 16 writes", unit="% of a channel", model=write_share(16)),
        Row(what="refresh", unit="% of the time", model=100 * (1 - stream_share(hbm))),
        Row(
            what="another channel, through the switch",
            unit="% of a channel",
            model=100 * lateral / peak,
            measured="at most 50",
        ),
    ]


def surface(hbm: Hbm) -> dict[int, list[float]]:
    """Return per cent of a channel's peak by burst size, for each of STRIDES that is no shorter."""
    return {
        size: [
            100
            * pattern_gb_s(
                hbm,
                strided_pattern(hbm, stride),
                size=size,
                count=COUNT // 2,
                outstanding=OUTSTANDING,
            )
            / hbm.channel_gb_s
            for stride in STRIDES
            if stride >= size
        ]
        for size in SIZES
    }


def page(name: str, table: list[Row], plane: dict[int, list[float]]) -> str:
    """Return the page."""
    lines = [
        f"# The HBM model of `{name}` beside measured boards",
        "",
        "`python -m hwroute.sim.memory.study --out docs/results` wrote this page. Inputs and their",
        f"sources are in `sim/devices/{name}.toml`; only the idle latencies are measured data.",
        "",
        "| | model | unit | measured |",
        "| --- | ---: | --- | --- |",
        *(f"| {row.what} | {row.model:.1f} | {row.unit} | {row.measured} |" for row in table),
        "",
        f"Burst size by stride, per cent of a channel, {OUTSTANDING} bursts on their way",
        "([picture](hbm.png)):",
        "",
        "| stride, bytes | " + " | ".join(f"{size} B" for size in SIZES) + " |",
        "| --- |" + " ---: |" * len(SIZES),
    ]
    for index, stride in enumerate(STRIDES):
        cells = []
        for size in SIZES:
            skipped = sum(other < size for other in STRIDES)
            cells.append(f"{plane[size][index - skipped]:.1f}" if stride >= size else "")
        lines.append(f"| {stride} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def draw(plane: dict[int, list[float]], path: Path) -> None:
    """Draw the surface, a line for each burst size."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), dpi=130)
    axes = figure.subplots()
    for size, shares in plane.items():
        strides = [stride for stride in STRIDES if stride >= size]
        axes.plot(strides, shares, marker="o", markersize=4, label=f"{size} B")
    axes.set_xscale("log", base=2)
    axes.set_ylim(0, 100)
    axes.set_xlabel("stride from burst to burst, bytes")
    axes.set_ylabel("rate of one channel, % of 14.4 GB/s")
    axes.grid(alpha=0.3)
    axes.legend(title="burst", frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    save_picture(figure, path)


@click.command()
@click.option("-d", "--device", default="u280", show_default=True, help="Device name or file.")
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder."
)
def main(device: str, out: Path) -> None:
    """Measure the HBM model and write the page."""
    chosen = load_device(device)
    table, plane = rows(chosen.hbm), surface(chosen.hbm)
    record = {
        "rows": [vars(row) for row in table],
        "surface_percent": {str(size): shares for size, shares in plane.items()},
        "strides_bytes": STRIDES,
        "provenance": provenance.collect(command=sys.argv, seed=SEED),
    }
    (out / "hbm.md").write_text(page(chosen.name, table, plane), encoding="utf-8")
    (out / "hbm.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    draw(plane, out / "hbm.png")


if __name__ == "__main__":
    main()
