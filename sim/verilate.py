"""Build Verilator simulations with cocotb inside, once for each distinct input."""

import contextlib
import hashlib
import json
import shutil
import sysconfig
from pathlib import Path

import cocotb
import cocotb_tools.config
from filelock import FileLock

from hwroute.sim.toolchain import find_verilator, require_compiler, run_build

CONTROL = """`verilator_config
public_flat_rw -module "{top}" -var "*"
"""
"""Only the ports of the top module are visible to cocotb: full visibility costs speed."""

FLAGS = ("--vpi", "--timing", "--assert", "-O3", "--x-assign", "unique", "-Wno-fatal")


def build(sources: dict[str, str], *, top: str, folder: Path, waves: bool = False) -> Path:
    """Compile Verilog into a simulation and return its executable.

    Parameters
    ----------
    sources
        Verilog text by file name.
    top
        Name of the top module.
    folder
        Where builds are kept, one folder for each hash of sources, tools and flags.
    waves
        Build so that ``--trace`` writes a VCD file.

    Raises
    ------
    ToolMissingError
        No usable Verilator, or no compiler.
    HwrouteError
        Verilator or the compiler refused the design: our bug.
    """
    verilator = find_verilator()
    flags = [*FLAGS, *(["--trace"] if waves else [])]
    identity = json.dumps([sources, top, flags, verilator.version, cocotb.__version__])
    key = hashlib.sha256(identity.encode()).hexdigest()[:16]
    folder = folder.resolve()
    place = folder / f"{top}-{key}"
    executable = place / top
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f"{top}-{key}.lock"):
        complete = place / "complete"
        if not complete.exists():
            require_compiler()
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir()
            runtime = folder / f"runtime-{_runtime_key(flags)}"
            _compile(sources, top, flags, place, runtime)
            complete.touch()
    return executable


def _runtime_key(flags: list[str]) -> str:
    identity = json.dumps([flags, find_verilator().version, str(find_verilator().path)])
    return hashlib.sha256(identity.encode()).hexdigest()[:16]


def _compile(
    sources: dict[str, str], top: str, flags: list[str], place: Path, runtime: Path
) -> None:
    """Compile in `place`; Verilator's own objects are kept in `runtime` for the next design."""
    verilator = find_verilator()
    if runtime.exists():
        for path in runtime.iterdir():
            shutil.copy(path, place)
    for name, text in sources.items():
        (place / name).write_text(text, encoding="utf-8")
    (place / "public.vlt").write_text(CONTROL.format(top=top), encoding="utf-8")
    libraries = cocotb_tools.config.libs_dir
    main = cocotb_tools.config.share_dir / "lib" / "verilator" / "verilator.cpp"
    python_libraries = sysconfig.get_config_var("LIBDIR")
    command = [
        str(verilator.path),
        *("--cc", "--exe", "--build", "-j", "2", "-Mdir", str(place), "--prefix", "Vtop"),
        *("--top-module", top, "-o", top, *flags),
        *("-CFLAGS", "-O1"),
        # The wheel's makefile leaves the precompiled-header flag empty.
        *("-MAKEFLAGS", "CFG_CXXFLAGS_PCH_I=-include"),
        "-LDFLAGS",
        f"-Wl,-rpath,{libraries} -Wl,-rpath,{python_libraries} -L{libraries} -lcocotbvpi_verilator",
        *("public.vlt", str(main), *sources),
    ]
    run_build(command, place, top)
    if not runtime.exists():
        collected = Path(f"{runtime}.{place.name}")
        collected.mkdir(exist_ok=True)
        for path in place.glob("verilated*.o"):
            shutil.copy(path, collected)
        with contextlib.suppress(OSError):  # another build was first
            collected.rename(runtime)
