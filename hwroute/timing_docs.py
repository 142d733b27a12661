"""Bring the latencies in docs/machine.md up to date: ``python -m hwroute.timing_docs FILE``."""

import ast
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from hwroute import memory_timing, timing
from hwroute.generated import row, with_generated

MARKER = "<!-- tables: hwroute.timing_docs -->"
"""The line after which the tables stand, to the end of the page."""


def with_latencies(text: str) -> str:
    """Return the page with its tables made anew from the modules of latencies."""
    return with_generated(text, MARKER, "\n".join(_tables()) + "\n")


def _tables() -> Iterator[str]:
    """Yield a table for each section of the modules."""
    for module in (timing, memory_timing):
        yield from _tables_of(module)


def _tables_of(module: ModuleType) -> Iterator[str]:
    source = inspect.getsource(module)
    lines, body = source.splitlines(), ast.parse(source).body
    starts = [
        number
        for number, line in enumerate(lines, 1)
        if line.startswith("# ") and not lines[number - 2].startswith("# ")
    ]
    for start, stop in zip(starts, [*starts[1:], len(lines) + 1], strict=True):
        rows = list(_rows(module, [node for node in body if start < node.lineno < stop]))
        title, _, rest = _comment(lines[start - 1 :]).partition(": ")
        modules = re.sub(r"hwroute\.rtl\.(\w+)", r"`\1`", rest)
        yield from (f"### {title}", "", modules, "")
        yield from (row("name", "cycles", "meaning"), row("---", "---:", "---"), *rows, "")


def _comment(lines: list[str]) -> str:
    """Return the comment that lines begin with."""
    words = []
    for line in lines:
        if not line.startswith("# "):
            break
        words.append(line[2:])
    return " ".join(words)


def _rows(module: ModuleType, nodes: list[ast.stmt]) -> Iterator[str]:
    """Yield a row for each constant and function."""
    for node, behind in zip(nodes, [*nodes[1:], None], strict=True):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            doc = ""
            if isinstance(behind, ast.Expr) and isinstance(behind.value, ast.Constant):
                doc = " ".join(str(behind.value.value).split())
            yield row(f"`{name}`", getattr(module, name), doc)
        elif isinstance(node, ast.FunctionDef):
            doc = (ast.get_docstring(node) or "").split("\n\n")[0]
            names = [one.arg for one in (*node.args.args, *node.args.kwonlyargs)]
            yield row(f"`{node.name}({', '.join(names)})`", "", " ".join(doc.split()))


if __name__ == "__main__":
    page = Path(sys.argv[1])
    page.write_text(with_latencies(page.read_text(encoding="utf-8")), encoding="utf-8")
