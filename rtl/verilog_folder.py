"""Write the Verilog of units into a folder, with what a reader needs to use it."""

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hwroute.config import Config
from hwroute.errors import InputError
from hwroute.rtl.emit import emit, library_files, simulation_files
from hwroute.rtl.units import UNITS, module_name

README = """# {config}: Verilog of hwroute's units

| file | top module | what it is |
| --- | --- | --- |
{rows}

`files.f` lists what synthesis reads. Files under `sim/` are models of vendor primitives
(DSP48E2): give them to a simulator, not to Vivado, which has its own. Clock `clk`, synchronous
reset `rst`, streams `<name>__payload`, `<name>__valid`, `<name>__ready`. Two emissions of one
configuration are identical.
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


def write(config: Config, folder: Path, units: Sequence[str]) -> Emission:
    """Emit units into a folder; existing files of the same names are replaced.

    Raises
    ------
    InputError
        The folder cannot be written.
    """
    texts = {
        f"{module_name(unit)}.v": emit(UNITS[unit](config), module_name(unit)) for unit in units
    }
    library = {path.name: path for path in library_files()}
    models = {f"sim/{path.name}": path for path in simulation_files()}
    rows = "\n".join(
        f"| `{module_name(unit)}.v` | `{module_name(unit)}` | {unit} |" for unit in units
    )
    texts["files.f"] = "\n".join([*texts, *library]) + "\n"
    texts["README.md"] = README.format(config=config.name, rows=rows)
    try:
        (folder / "sim").mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")
        for name, path in (library | models).items():
            shutil.copyfile(path, folder / name)
    except OSError as error:
        raise InputError(f"folder {folder} must be writable: {error}") from error
    modules = {
        name: len(re.findall(r"^module ", text, re.MULTILINE))
        for name, text in texts.items()
        if name.endswith(".v")
    }
    return Emission(files=[*texts, *library, *models], modules=modules)
