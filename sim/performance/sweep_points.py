"""The points of a sweep: every combination of a grid, and a list."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

from hwroute.errors import InputError, nearest
from hwroute.memory_config import KVMapping
from hwroute.plain import from_plain, to_plain
from hwroute.policy_terms import KVRule

FORMAT = 1
TABLES = ("format", "common", "grid", "points")


@dataclass(frozen=True, kw_only=True)
class Point:
    """One run of the performance model: the options of ``hwroute perf``, by their names.

    Parameters
    ----------
    model, config, device, prefill, decode, skip, kv, kv_mapping, seed, layer_correlation, \
token_correlation
        As there.
    kv_buffer, fused
        False for ``--no-kv-buffer`` and ``--no-fused``.
    """

    model: str = "llama2-7b"
    config: str = "u280"
    device: str = "u280"
    prefill: int = 128
    decode: int = 1024
    skip: float = 0.25
    kv: KVRule | None = None
    kv_mapping: KVMapping | None = None
    kv_buffer: bool = True
    fused: bool = True
    seed: int = 1
    layer_correlation: float = 0.0
    token_correlation: float = 0.0

    def plain(self) -> dict[str, Any]:
        """Return all options as JSON holds them."""
        return {name: to_plain(value) for name, value in asdict(self).items()}

    def label(self, names: Sequence[str]) -> str:
        """Return some of the options, those that are given, for a person."""
        plain = self.plain()
        return " ".join(f"{name}={plain[name]}" for name in names if plain[name] is not None)


def varying(points: Sequence[Point]) -> list[str]:
    """Return the options in which points differ; all of them where none does."""
    plain = [point.plain() for point in points]
    names = [name for name in plain[0] if any(one[name] != plain[0][name] for one in plain)]
    return names or list(plain[0])


def read_points(path: Path) -> list[Point]:
    """Return the points of a sweep file (`docs/cli.md`), the grid first, its last key fastest.

    Raises
    ------
    InputError
        The file is unreadable; a table or key is unknown, with the nearest name; a value has the
        wrong type; two points are alike; or there are none.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
        points = _points(tables)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, TypeError, ValueError) as error:
        raise InputError(f"sweep {path}: {error}") from error
    first: dict[Point, int] = {}
    for number, point in enumerate(points, start=1):
        if first.setdefault(point, number) != number:
            raise InputError(
                f"sweep {path}: points must differ, but {first[point]} and {number} are alike"
            )
    return points


def _points(tables: Mapping[str, Any]) -> list[Point]:
    for key in tables:
        if key not in TABLES:
            raise ValueError(f"{key} must be a known key{nearest(key, list(TABLES))}")
    if tables.get("format") != FORMAT:
        raise ValueError(f"format must be {FORMAT}, not {tables.get('format')!r}")
    common = _table(tables, "common")
    from_plain(Point, common, "common")
    grid, listed = _grid(_table(tables, "grid")), tables.get("points", [])
    if not isinstance(listed, list):
        raise TypeError(f"points must be an array of tables, not {listed!r}")
    points = [_point("grid", common, values) for values in grid]
    points += [_point(f"points[{at}]", common, one) for at, one in enumerate(listed)]
    if not points:
        raise ValueError("there must be a table grid, or a table points for each point")
    return points


def _table(tables: Mapping[str, Any], name: str) -> dict[str, Any]:
    table = tables.get(name, {})
    if not isinstance(table, dict):
        raise TypeError(f"{name} must be a table, not {table!r}")
    return table


def _grid(table: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return every combination of the values of the keys; none of an empty table."""
    for key, values in table.items():
        if not isinstance(values, list) or not values:
            raise TypeError(f"grid.{key} must be an array of at least one value, not {values!r}")
    combined = product(*table.values()) if table else ()
    return [dict(zip(table, values, strict=True)) for values in combined]


def _point(where: str, common: Mapping[str, Any], own: Mapping[str, Any]) -> Point:
    from_plain(Point, own, where)
    point: Point = from_plain(Point, {**common, **own}, where)
    return point
