"""Write the Verilog of units into a folder, with what a reader needs to use it."""

import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hwroute.config import Config
from hwroute.errors import InputError
from hwroute.rtl.emit import emit, library_files, simulation_files
from hwroute.rtl.units import UNITS, module_name
from hwroute.rtl.vivado import clocks_xdc, project_tcl

README = """# {config}: Verilog of hwroute

| file | top module | what it is |
| --- | --- | --- |
{rows}

`files.f` lists what synthesis reads. The `.tcl` beside a unit makes a Vivado project for
{device}, with the clocks of its `.xdc`. Files under `sim/` are models of vendor primitives
(DSP48E2): give them to a simulator, not to Vivado, which has its own. Clock `clk`, synchronous
reset `rst`; with HBM ports also `memory_clk`, `memory_rst`. Streams `<name>__payload`,
`<name>__valid`, `<name>__ready`. Two emissions of one configuration are identical.
"""


@dataclass(frozen=True, kw_only=True)
class Emission:
    """What was written.

    Parameters
    ----------
    files
        Paths relative to the folder.
    modules
        Verilog modules by file.
    """

    files: list[str]
    modules: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class Target:
    """What the Verilog is for.

    Parameters
    ----------
    device, part
        A board, and its vendor's name of the device.
    clocks
        MHz of each clock that a unit may have, by port.
    """

    device: str
    part: str
    clocks: Mapping[str, float]


def write(config: Config, folder: Path, units: Sequence[str], target: Target) -> Emission:
    """Emit units into a folder; existing files of the same names are replaced.

    Raises
    ------
    InputError
        The folder cannot be written.
    """
    verilog = {
        f"{module_name(unit)}.v": emit(UNITS[unit](config), module_name(unit)) for unit in units
    }
    texts = dict(verilog)
    library = {path.name: path for path in library_files()}
    models = {f"sim/{path.name}": path for path in simulation_files()}
    for unit in units:
        texts |= _project(module_name(unit), texts[f"{module_name(unit)}.v"], [*library], target)
    rows = "\n".join(
        f"| `{module_name(unit)}.v` | `{module_name(unit)}` | {unit} |" for unit in units
    )
    texts["files.f"] = "\n".join([*verilog, *library]) + "\n"
    texts["README.md"] = README.format(config=config.name, rows=rows, device=target.device)
    try:
        (folder / "sim").mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")
        for name, path in (library | models).items():
            shutil.copyfile(path, folder / name)
    except OSError as error:
        raise InputError(f"folder {folder} must be writable: {error}") from error
    modules = {
        name: len(re.findall(r"^module ", text, re.MULTILINE)) for name, text in verilog.items()
    }
    return Emission(files=[*texts, *library, *models], modules=modules)


def _project(top: str, verilog: str, library: Sequence[str], target: Target) -> dict[str, str]:
    """Return the files that make a Vivado project of one unit."""
    ports = re.search(rf"^module {top}\((.*?)\);", verilog, re.MULTILINE | re.DOTALL)
    assert ports, f"no module {top}"
    names = re.split(r"\W+", ports.group(1))
    clocks = {port: mhz for port, mhz in target.clocks.items() if port in names}
    return {
        f"{top}.tcl": project_tcl(top=top, files=[f"{top}.v", *library], part=target.part),
        f"{top}.xdc": clocks_xdc(clocks),
    }
