"""Write a figure the same way everywhere."""

from pathlib import Path
from typing import TYPE_CHECKING

from hwroute.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def check_picture(path: Path) -> None:
    """Raise InputError unless the suffix is one that pictures have."""
    if path.suffix not in (".png", ".svg"):
        raise InputError(f"picture must be a .png or .svg file, not {str(path)!r}")


def save_picture(figure: "Figure", path: Path) -> None:
    """Write a figure as PNG or SVG, by its suffix; the same figure gives the same bytes.

    Raises
    ------
    InputError
        Another suffix, or the file cannot be written.
    """
    check_picture(path)
    import matplotlib as mpl

    figure.tight_layout()
    try:
        # Without a date and with fixed ids, one run gives one file.
        with mpl.rc_context({"svg.hashsalt": "hwroute"}):
            figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    except OSError as error:
        raise InputError(f"picture {path} must be writable: {error}") from error
