# amaranth: UnusedElaboratable=no
"""The router unit against the golden decisions and bitmasks."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hwroute import timing
from hwroute.config import PRESETS
from hwroute.errors import HwrouteError
from hwroute.models.ops import router as golden
from hwroute.paths import build_dir
from hwroute.rtl.emit import emit
from hwroute.rtl.router import WORD_BITS, Decision, RouterUnit, command_layout
from hwroute.sim.units import Run, UnitSimulation


@dataclass(frozen=True, kw_only=True)
class Tile:
    """One command and its logits [count, 2] float32."""

    layer: int = 0
    sublayer: int = 0
    base: int = 0
    logits: Any
    decision: Decision = Decision.ROUTE
    execute: int = 0
    tie_executes: bool = True
    forced: int = 0

    @property
    def count(self) -> int:
        return len(self.logits)

    @property
    def takes_logits(self) -> bool:
        return self.decision in (Decision.ROUTE, Decision.FORCE)

    def mask(self) -> Any:
        """Return which of its tokens execute [count] bool."""
        if self.decision is not Decision.ROUTE:
            return np.full(self.count, self.decision is not Decision.SKIP)
        chosen = golden.decide(self.logits, execute=self.execute, tie_executes=self.tie_executes)
        return chosen | (self.base + np.arange(self.count) < self.forced)


def simulate(
    simulation: UnitSimulation, folder: Path, tiles: list[Tile], stall: float = 0.0
) -> Run:
    """Run commands, then compare lists and summaries with the golden ones."""
    names = [name for name, _ in command_layout(PRESETS["demo"].kv)]
    commands = {
        name: np.array(
            [getattr(value := getattr(tile, name), "value", value) for tile in tiles], np.int64
        )
        for name in names
    }
    routed = [tile for tile in tiles if tile.takes_logits and tile.count]
    logits = np.concatenate([tile.logits for tile in routed] or [np.zeros((0, 2), np.float32)])
    stream = {
        "token": np.concatenate(
            [tile.base + np.arange(tile.count) for tile in routed] or [np.zeros(0, np.int64)]
        ),
        "logit": logits.astype(np.float32).view(np.uint32).reshape(-1, 2).astype(np.int64),
        "last": np.concatenate(
            [np.arange(tile.count) == tile.count - 1 for tile in routed] or [np.zeros(0, bool)]
        ).astype(np.int64),
    }
    tokens = np.concatenate([tile.base + golden.compact(tile.mask()) for tile in tiles])
    no_query = {name: np.zeros(0, np.int64) for name in ("layer", "sublayer", "word")}
    run = simulation.run(
        {"commands": commands, "logits": stream, "query": no_query},
        {"tokens": len(tokens), "summary": len(tiles), "bits": 0},
        folder=folder,
        stall=stall,
        seed=3,
    )
    assert np.array_equal(run.outputs["tokens"], tokens)
    executed = np.array([tile.mask().sum() for tile in tiles])
    summary = run.outputs["summary"]
    assert np.array_equal(summary["executed"], executed)
    assert np.array_equal(summary["skipped"], [tile.count for tile in tiles] - executed)
    assert np.array_equal(summary["empty"], executed == 0)
    return run
