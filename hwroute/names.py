"""Names of labels, operations, memory regions and tensors, as program listings show them."""

import re

NAME = r"[A-Za-z_][A-Za-z0-9_./-]*"
"""What a name must match: nothing that the syntax of listings uses, no number."""


def check_name(what: str, name: str) -> None:
    """Raise ValueError unless `name` is a name; the message begins with `what`."""
    if not re.fullmatch(NAME, name):
        raise ValueError(
            f"{what} must be a letter or _, then letters, digits, '_', '.', '/' and '-', "
            f"not {name!r}"
        )
