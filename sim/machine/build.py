"""Emit the machine, and build it with its harness by Verilator, each once for all it depends on.

No Python runs beside the simulation: it is an executable of its own.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from functools import cache
from importlib import metadata
from pathlib import Path

from filelock import FileLock

from hwroute.config import Config, to_dict
from hwroute.rtl.emit import emit, library_files, simulation_files
from hwroute.rtl.machine import Machine
from hwroute.sim.emission import SOURCES, TOOLS
from hwroute.sim.machine.harness import MACHINE, TOP, harness
from hwroute.sim.machine_faults import MachineFault, plant
from hwroute.sim.toolchain import find_verilator, require_compiler, run_build

LARGE_BYTES = 20 << 20
"""Of Verilog text: the C++ of a larger machine is compiled file by file. By default Verilator has
it compiled in as many pieces as there are jobs, which is fast until a piece has 50 MB."""
MODELS = Path(__file__).parent.parent / "verilog"
FLAGS = (
    *("--binary", "--timing", "--assert", "-O3", "-Wno-fatal", "-Wno-lint"),
    *("--x-assign", "unique", "--x-initial", "unique"),
    *("-CFLAGS", "-O1 -fcoroutines"),
    # The wheel's makefile leaves the precompiled-header flag empty.
    *("-MAKEFLAGS", "CFG_CXXFLAGS_PCH_I=-include"),
)


def emitted_machine(config: Config, folder: Path) -> str:
    """Return the machine's Verilog; it is kept in `folder`, for emitting takes a minute.

    Parameters
    ----------
    config
        Of the machine.
    folder
        Has a file for each hash of all that the text depends on.
    """
    versions = [metadata.version(tool) for tool in TOOLS]
    depends = json.dumps([MACHINE, to_dict(config), SOURCES, versions, shutil.which("yosys")])
    file = folder / f"{MACHINE}-{_short_hash(depends)}.v"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(file.with_suffix(".lock")):
        if not file.exists():
            partial = file.with_suffix(f".{os.getpid()}")
            partial.write_text(emit(Machine(config), MACHINE), encoding="utf-8")
            partial.replace(file)  # whole or not there at all
    return file.read_text(encoding="utf-8")


def build_machine(
    config: Config,
    *,
    folder: Path,
    waves: bool = False,
    faults: Sequence[MachineFault] = (),
) -> Path:
    """Return the executable of the machine in its harness; compiling takes minutes.

    Parameters
    ----------
    config
        Of the machine.
    folder
        Where emitted text and builds are kept.
    waves
        Build it able to write waves.
    faults
        Plant these in the text: `hwroute.sim.machine_faults.plant`.

    Raises
    ------
    ToolMissingError
        No usable Verilator, or no compiler.
    HwrouteError
        Verilator or the compiler refused the design: our bug.
    """
    return _built(config, folder, waves, tuple(faults))


@cache
def _built(config: Config, folder: Path, waves: bool, faults: tuple[MachineFault, ...]) -> Path:
    """Build what is not there yet; a process hashes the text, which is long, once."""
    machine = emitted_machine(config, folder / "emitted")
    sources = {
        "machine.sv": plant(machine, faults) if faults else machine,
        "harness.sv": harness(config, waves=waves),
    }
    models = (MODELS / f"hwroute_{name}.v" for name in ("axi_memory", "host"))
    for path in (*library_files(), *simulation_files(), *models):
        sources[path.name.replace(".v", ".sv")] = path.read_text(encoding="utf-8")
    flags = [*FLAGS, *(["--trace"] if waves else [])]
    if len(machine) > LARGE_BYTES:
        flags += ["--output-groups", "0"]
    return _build(sources, flags, folder / "verilator")


def _build(sources: dict[str, str], flags: list[str], folder: Path) -> Path:
    """Compile sources, unless that was done before."""
    verilator = find_verilator()
    depends = json.dumps([sources, flags, verilator.version])
    place = folder.resolve() / f"machine-{_short_hash(depends)}"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{place}.lock"):
        if not (place / "complete").exists():
            require_compiler()
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir()
            _compile(sources, flags, place)
            (place / "complete").touch()
    return place / TOP


def _compile(sources: dict[str, str], flags: list[str], place: Path) -> None:
    """Run Verilator and the compiler in `place`; keep the executable and what they said."""
    verilator = find_verilator()
    for name, text in sources.items():
        (place / name).write_text(text, encoding="utf-8")
    command = [
        *(str(verilator.path), "-j", "2", "-Mdir", "objects"),
        *("--top-module", TOP, "-o", str(place / TOP), *flags, *sources),
    ]
    run_build(command, place, "the machine")
    shutil.rmtree(place / "objects")


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]
