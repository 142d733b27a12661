"""Bring the table of docs/routing.md up to date: ``python -m hwroute.models.policy_docs FILE``."""

import sys
from pathlib import Path

from hwroute.generated import with_generated
from hwroute.models.library import named_policy, policy_names
from hwroute.models.routing import REFERENCE_PRIMITIVES
from hwroute.operation_list import SUPPORTED
from hwroute.policy_table import markdown_table

MARKER = "<!-- table: hwroute.policy_table -->"
"""The line after which the table stands, to the end of the file."""


def with_table(text: str) -> str:
    """Return a page with the table after `MARKER` made anew from the code."""
    executors = {"reference": REFERENCE_PRIMITIVES, "golden": SUPPORTED}
    table = markdown_table([named_policy(name) for name in policy_names()], executors)
    return with_generated(text, MARKER, table)


if __name__ == "__main__":
    page = Path(sys.argv[1])
    page.write_text(with_table(page.read_text(encoding="utf-8")), encoding="utf-8")
