"""``hwroute verilog``: emit the machine, or units of it."""

from pathlib import Path

import click

from hwroute.cli.options import config_option, json_option
from hwroute.cli.output import emit, progress
from hwroute.config import Config
from hwroute.errors import InputError, nearest


@click.command(epilog="Example: hwroute verilog -o build/verilog -c u280")
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder to write.",
)
@click.option(
    "--unit",
    "units",
    multiple=True,
    default=["machine"],
    show_default=True,
    help="Unit, or the whole machine; may be repeated.",
)
@click.option(
    "--device",
    default="u280",
    show_default=True,
    help="Board: its part and clocks, or a TOML file.",
)
@config_option
@json_option
def verilog(
    output: Path, units: tuple[str, ...], device: str, config: Config, as_json: bool
) -> None:
    """Write the Verilog of the machine, the same text every time, and a Vivado project."""
    from hwroute.rtl.units import UNITS
    from hwroute.rtl.verilog_folder import Target, write
    from hwroute.sim.device import load_device

    for unit in units:
        if unit not in UNITS:
            known = list(UNITS)
            raise InputError(
                f"--unit must be one of {', '.join(known)}, not {unit!r}{nearest(unit, known)}"
            )
    board = load_device(device)
    target = Target(
        device=board.summary,
        part=board.logic.part,
        clocks={"clk": board.core_mhz, "memory_clk": board.hbm.port_mhz},
    )
    with progress("emitting", 1) as advance:
        emission = write(config, output, units, target)
        advance(1)
    lines = [f"{name}: {count} modules" for name, count in emission.modules.items()]
    emit(
        {"files": emission.files, "modules": emission.modules},
        "\n".join([*lines, f"written to {output}"]),
        as_json=as_json,
        config=config,
    )
