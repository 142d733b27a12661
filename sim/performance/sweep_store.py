"""The folder of a sweep: what is finished is kept whatever happens, and never run again."""

import csv
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from hwroute.errors import InputError

FINISHED, RESULTS = "points.jsonl", "results"
Row = dict[str, Any]


class Store:
    """Finished points, a line each as they come, and the tables of all.

    Used as a context: no other sweep may write to the folder meanwhile.

    Parameters
    ----------
    folder
        Made where it is missing.

    Raises
    ------
    InputError
        Another sweep writes there.
    """

    def __init__(self, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._lock = FileLock(folder / ".lock")
        self._path = folder / FINISHED

    def __enter__(self) -> "Store":
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise InputError(f"{self.folder}: no other sweep may be running there") from error
        self._mend()
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def _mend(self) -> None:
        """Cut off a line that was not wholly written."""
        if self._path.exists():
            data = self._path.read_bytes()
            if not data.endswith(b"\n"):
                self._path.write_bytes(data[: data.rfind(b"\n") + 1])

    def add(self, row: Row) -> None:
        """Keep a finished point."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, allow_nan=False) + "\n")

    def write(self, rows: Iterable[Row], provenance: Mapping[str, object]) -> None:
        """Write all rows as CSV, a column for each figure, and as JSON with their provenance."""
        rows = list(rows)
        record = {"rows": rows, "provenance": provenance}
        text = json.dumps(record, indent=2, allow_nan=False) + "\n"
        (self.folder / f"{RESULTS}.json").write_text(text, encoding="utf-8")
        flat = [columns_of(row) for row in rows]
        names = dict.fromkeys(name for row in flat for name in row)
        path = self.folder / f"{RESULTS}.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(names), restval="")
            writer.writeheader()
            writer.writerows(flat)


def columns_of(row: Row) -> Row:
    """Return a row as the CSV has it: options first, figures by their path."""
    rest = {name: value for name, value in row.items() if name not in ("point", "figures")}
    return {**row["point"], **flatten(row.get("figures", {})), **flatten(rest)}


def read_finished(folder: Path) -> dict[str, Row]:
    """Return the rows that a folder has by their ``id``.

    A last line that was not wholly written is none.

    Raises
    ------
    InputError
        A line is none of a sweep's.
    """
    path = folder / FINISHED
    if not path.exists():
        return {}
    whole, _, _ = path.read_text(encoding="utf-8").rpartition("\n")
    rows: dict[str, Row] = {}
    for number, line in enumerate(whole.splitlines(), start=1):
        try:
            row = json.loads(line)
            rows[row["id"]] = row
        except (json.JSONDecodeError, TypeError, KeyError) as error:
            raise InputError(
                f"{path}:{number}: must be a finished point of a sweep; take another folder, or "
                "remove the line"
            ) from error
    return rows


def flatten(row: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested values by their path, such as ``kv.hit_share``."""
    flat: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat
