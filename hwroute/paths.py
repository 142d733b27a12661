"""Where hwroute stands and where its runs write."""

import tomllib
from functools import cache
from pathlib import Path

from hwroute.errors import InputError

LINKED = ("rtl", "sim", "models")
"""Subpackages that a checkout holds as links to folders at its top level."""

PACKAGE = Path(__file__).resolve().parent


@cache
def checkout() -> Path | None:
    """Return the root of the checkout that hwroute is imported from, None where it is installed.

    A checkout is a folder that holds the package and a ``pyproject.toml`` whose project name is
    ``hwroute``.
    """
    pyproject = PACKAGE.parent / "pyproject.toml"
    try:
        project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]["name"]
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, KeyError):
        return None
    return PACKAGE.parent if project == "hwroute" else None


def build_dir(override: Path | None = None) -> Path:
    """Return the folder that runs write to; it need not exist yet.

    `override` (``--build-dir``) wins; else ``build/`` of the checkout, else the user's cache
    folder.
    """
    if override is not None:
        return override
    root = checkout()
    if root is not None:
        return root / "build"
    from platformdirs import user_cache_path

    return user_cache_path("hwroute")


def check_links(package: Path = PACKAGE) -> None:
    """Refuse a checkout whose links became text files.

    Git writes a link as a text file where ``core.symlinks`` is false; such a checkout lacks
    `LINKED` and everything that imports them would fail far from the cause.

    Raises
    ------
    InputError
        One of `LINKED` is no folder. The message holds the line that mends it.
    """
    broken = [name for name in LINKED if not (package / name).is_dir()]
    if broken:
        raise InputError(
            f"{', '.join(str(package / name) for name in broken)} must link to a folder at the "
            f"checkout's top level: git config core.symlinks true && git checkout -- hwroute"
        )
