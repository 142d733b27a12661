"""What the commands on programs share: the option ``-o``, and what they say of a program."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from hwroute.cli.output import emit

if TYPE_CHECKING:
    from hwroute.program import Program

Function = TypeVar("Function", bound=Callable[..., Any])


def program_output(function: Function) -> Function:
    """Add ``-o``; the command receives the program file to write as `output`."""
    return click.option(
        "-o",
        "--output",
        required=True,
        type=click.Path(dir_okay=False, path_type=Path),
        help="Program file to write.",
    )(function)


def emit_program(program: "Program", path: Path, *, as_json: bool) -> None:
    """Print what there is to say of a program that was written to `path`."""
    from hwroute.isa.fields import BEAT_BYTES, LINE_BYTES, Unit
    from hwroute.memory_map import Space

    units = [one.unit for one in program.instructions]
    config, memory = program.config, program.memory
    size = len(program.words)
    hbm = memory.size(Space.HBM) * BEAT_BYTES * config.kv.hbm_ports
    ddr = memory.size(Space.DDR) * LINE_BYTES
    result = {
        "model": program.model,
        "policy": program.policy,
        "hash": program.hash,
        "instructions": len(units),
        "instructions_by_unit": {unit.name.lower(): units.count(unit) for unit in Unit},
        "bytes": size,
        "tile": program.tile,
        "context": memory.context,
        "hbm_bytes": hbm,
        "ddr_bytes": ddr,
        "path": str(path),
    }
    room = config.memory.hbm_port_bytes * config.kv.hbm_ports
    lines = [
        f"{program.model}, policy {program.policy}, on {config.name}",
        f"instructions  {len(units):,} ({size:,} bytes)",
        f"tile          {program.tile} tokens of a context of {memory.context:,}",
        f"HBM           {hbm:,} of {room:,} bytes in {config.kv.hbm_ports} ports",
        f"DDR           {ddr:,} of {config.memory.ddr_bytes:,} bytes",
        f"written to {path}",
    ]
    emit(result, "\n".join(lines), as_json=as_json, config=config)
