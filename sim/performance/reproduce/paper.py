"""What the paper prints: `paper.toml`."""

import tomllib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from hwroute.errors import InputError
from hwroute.plain import from_plain

FORMAT = 1
FILE = Path(__file__).resolve().parent / "paper.toml"
KINDS = ("lut", "ff", "dsp", "bram", "uram")
"""Resources, by their names in `Resource`."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A figure that the paper prints.

    Parameters
    ----------
    section, key
        What repeats it, and its name there.
    what, unit, value
        What it is of.
    place
        Where it is printed.
    """

    section: str
    key: str
    what: str
    unit: str
    value: float
    place: str


@dataclass(frozen=True, kw_only=True)
class Resource:
    """Logic of a part.

    Parameters
    ----------
    section, part, place
        What repeats it; of what; where it is printed.
    lut, ff, dsp, bram, uram
        Numbers of each; None where the paper prints none.
    """

    section: str
    part: str
    place: str
    lut: float
    ff: float
    dsp: float
    bram: float | None = None
    uram: float | None = None


@dataclass(frozen=True, kw_only=True)
class Peer:
    """Another accelerator.

    Parameters
    ----------
    name
        Its name and board.
    efficiency_percent
        Bandwidth efficiency as the paper prints it, None for those that it does not have.
    tokens_per_second
        Published, None where not.
    note
        What its own publication says, and what must not be repeated without it.
    """

    name: str
    efficiency_percent: float | None = None
    tokens_per_second: float | None = None
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Paper:
    """All that is repeated.

    Parameters
    ----------
    format
        Version of the file's format.
    figure, resource, peer
        In the file's order.
    """

    format: int
    figure: tuple[Figure, ...]
    resource: tuple[Resource, ...]
    peer: tuple[Peer, ...]

    def figures(self, section: str) -> dict[str, Figure]:
        """Return the figures of a section by their keys."""
        return {one.key: one for one in self.figure if one.section == section}

    def resources(self, section: str) -> list[Resource]:
        """Return the parts of a section."""
        return [one for one in self.resource if one.section == section]


@lru_cache(maxsize=1)
def load_paper() -> Paper:
    """Return what the paper prints.

    Raises
    ------
    InputError
        The file is of another format, or broken.
    """
    try:
        paper: Paper = from_plain(Paper, tomllib.loads(FILE.read_text(encoding="utf-8")))
    except (OSError, tomllib.TOMLDecodeError, TypeError, ValueError) as error:
        raise InputError(f"{FILE}: {error}") from error
    if paper.format != FORMAT:
        raise InputError(f"{FILE}: format must be {FORMAT}, not {paper.format}")
    return paper
