"""Parts of documents that are made from the code."""


def with_generated(text: str, marker: str, generated: str) -> str:
    """Return a page with everything behind the line `marker` replaced.

    Parameters
    ----------
    text
        The page.
    marker
        An HTML comment that stands on a line of its own.
    generated
        What stands behind it, to the end of the page.

    Raises
    ------
    ValueError
        The page has no such line.
    """
    before, found, _ = text.partition(f"{marker}\n")
    if not found:
        raise ValueError(f"text must have the line {marker!r}")
    return f"{before}{marker}\n\n{generated}"


def row(*cells: object) -> str:
    """Return a row of a Markdown table."""
    return f"| {' | '.join(map(str, cells))} |"
