"""Models of growing size on the machine: cycles must grow as the bytes do.

``python -m hwroute.sim.machine.growth --out docs/results`` writes the table.
"""

from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import click

from hwroute.compiler import compile_program
from hwroute.config import PRESETS, Config
from hwroute.errors import CheckFailedError
from hwroute.isa.fields import BEAT_BYTES
from hwroute.models.image import build_image
from hwroute.models.library import SHAPE_POLICY, named_policy
from hwroute.models.random_weights import RandomCheckpoint
from hwroute.paths import build_dir
from hwroute.shape import ModelShape
from hwroute.sim.machine.check import check_machine

DEMO = PRESETS["demo"]
CONFIG: Config = replace(
    DEMO,
    name="growth",
    memory=replace(
        DEMO.memory, scratchpad_bytes=256 << 10, hbm_port_bytes=8 << 20, ddr_bytes=8 << 20
    ),
    kv=replace(DEMO.kv, entry_beats=32, max_tokens=64, max_layers=2),
)
"""The demo configuration with memories for the largest of `SIZES`."""
SIZES = ((128, 384), (256, 704), (512, 1408), (1024, 2816))
"""Dimensions of model and FFN."""
HEAD = 64
PROMPT = (1, 2, 3, 4)
TOKENS = 4
CLOCKS = (2, 1)
"""Half periods of machine and HBM: a port of 256 bits gives a beat in each cycle at any ratio up
to that, since the machine's side is as wide."""
PEAK = CONFIG.kv.hbm_ports * BEAT_BYTES
"""Bytes that the machine's side of all ports takes in a cycle."""
PAGE = """# Growth

Written by `python -m hwroute.sim.machine.growth --out docs/results`: models of two layers with
random weights, {prompt} tokens of prompt and {tokens} generated, on the RTL at the demo
configuration with larger memories. Every write is compared with the interpreter. At most {peak}
bytes come from HBM in a cycle; the rest of the time is what stands between products: reductions,
attention, routing.

| dimensions | instructions | cycles | bytes read from HBM | bytes a cycle |
| --- | ---: | ---: | ---: | ---: |
{rows}

From one size to the next:

| dimensions | cycles grow | bytes grow |
| --- | ---: | ---: |
{growth}
"""


@dataclass(frozen=True, kw_only=True)
class Point:
    """What a size took: dimensions of model and FFN; instructions, cycles, bytes from HBM."""

    dim: int
    ffn: int
    instructions: int
    cycles: int
    read: int


def measure(dim: int, ffn: int) -> Point:
    """Generate with a model of a size, on the machine.

    Raises
    ------
    CheckFailedError
        The machine differs from the interpreter.
    """
    heads = dim // HEAD
    shape = ModelShape(
        dim=dim,
        layers=CONFIG.kv.max_layers,
        heads=heads,
        kv_heads=heads // 2,
        head_dim=HEAD,
        ffn_dim=ffn,
        vocab=256,
        context=CONFIG.kv.max_tokens,
    )
    model = RandomCheckpoint(shape, named_policy(SHAPE_POLICY), seed=1)
    program = compile_program(shape, model.policy, CONFIG, model=model.name)
    builds = build_dir() / "machine"
    checked = check_machine(
        program,
        build_image(program, model),
        PROMPT,
        TOKENS,
        folder=builds / f"growth-{dim}",
        builds=builds,
        half_periods=CLOCKS,
    )
    if not checked.match:
        raise CheckFailedError(f"dimensions {dim} and {ffn}: {checked.difference}")
    counters = checked.run.counters
    return Point(
        dim=dim,
        ffn=ffn,
        instructions=checked.lockstep.instructions,
        cycles=checked.run.cycles,
        read=sum(counters[f"hbm{port}_bytes_read"] for port in range(CONFIG.kv.hbm_ports)),
    )


def page(points: list[Point]) -> str:
    """Return the table as a page."""
    rows = [
        f"| {one.dim} / {one.ffn} | {one.instructions:,} | {one.cycles:,} | {one.read:,} "
        f"| {one.read / one.cycles:.1f} |"
        for one in points
    ]
    growth = [
        f"| {before.dim} to {one.dim} | {one.cycles / before.cycles:.2f} "
        f"| {one.read / before.read:.2f} |"
        for before, one in pairwise(points)
    ]
    return PAGE.format(
        prompt=len(PROMPT),
        tokens=TOKENS,
        peak=PEAK,
        rows="\n".join(rows),
        growth="\n".join(growth),
    )


@click.command()
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), help="Folder for growth.md."
)
def main(out: Path | None) -> None:
    """Run models of growing size on the machine in RTL."""
    text = page([measure(dim, ffn) for dim, ffn in SIZES])
    if out is None:
        click.echo(text)
        return
    (out / "growth.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
