"""What sweeps have to bring, from the order and the plain content of the HBM ports."""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwroute.config import Config
from hwroute.kv import ORDER_FIELDS

LINE_BEATS = 4
FIELD = {name: column for column, name in enumerate(ORDER_FIELDS)}


@dataclass(frozen=True, kw_only=True)
class Map:
    """Where slots are: a vector of `lines` lines; the rest in beats of HBM."""

    lines: int
    base: int = 0

    @property
    def exponents(self) -> int:
        return -(-self.lines // 32)

    @property
    def slot_beats(self) -> int:
        return 2 * self.lines * LINE_BEATS + self.exponents


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Lines ``line`` to ``line + lines - 1`` of K, or with ``value`` of V."""

    value: int
    line: int
    lines: int


@dataclass(frozen=True, kw_only=True)
class Attention:
    """An order and the sweeps over it; after a kv.map where `order` is None."""

    order: NDArray[np.int64] | None
    sweeps: tuple[Sweep, ...]


@dataclass
class Brought:
    """What came, or has to: batches, and lines and exponents by source."""

    batches: list[Any] = field(default_factory=list)
    lines: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    exponents: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    beats: list[int] = field(default_factory=list)
    events: list[int] = field(default_factory=lambda: [0, 0])


class Golden:
    """What sweeps bring, from the order and the plain content of the HBM ports."""

    def __init__(self, config: Config, layout: Map, hbm: NDArray[np.uint8]):
        self.config, self.layout, self.hbm = config, layout, hbm
        self.brought = Brought(beats=[0] * config.kv.hbm_ports)

    def attend(self, attention: Attention) -> None:
        order = attention.order
        rows = order.tolist() if order is not None else []
        used: set[int] = set()
        for sweep in attention.sweeps:
            self._sweep(sweep, rows, sweep.value not in used)
            used.add(sweep.value)

    def _sweep(self, sweep: Sweep, rows: list[list[int]], fresh: bool) -> None:
        batches: list[dict[int, tuple[int, int]]] = [{}]
        banks, last_round = self.config.kv.buffer_banks, 0
        for row in rows:
            hit, port = row[FIELD["hit"]] and fresh, row[FIELD["port"]]
            source = row[FIELD["bank"]] if hit else banks + port
            if row[FIELD["round"]] != last_round or source in batches[-1]:
                batches.append({})
            last_round = row[FIELD["round"]]
            batches[-1][source] = (len(batches[-1]), row[FIELD["token"]])
            self._entry(sweep, row, source, fresh)
        for batch in batches:
            self.brought.batches.append((batch, batch is batches[-1]))

    def _entry(self, sweep: Sweep, row: list[int], source: int, fresh: bool) -> None:
        layout, port = self.layout, row[FIELD["port"]]
        first = layout.base + row[FIELD["slot"]] * layout.slot_beats
        slot = self.hbm[port, first : first + layout.slot_beats].reshape(-1)
        vector = 128 * layout.lines
        start = sweep.value * (vector + 32 * layout.exponents)
        wanted = range(sweep.line, sweep.line + sweep.lines)
        for line in wanted:
            part = slot[start + 128 * line : start + 128 * (line + 1)]
            self.brought.lines[source].append(int.from_bytes(part.tobytes(), "little"))
        hit = fresh and row[FIELD["hit"]]
        if not sweep.value:
            self.brought.exponents[source] += [int(slot[vector + line]) & 31 for line in wanted]
            self.brought.events[0 if hit else 1] += 1
        if not hit:
            whole = fresh and row[FIELD["keep"]]
            asked = LINE_BEATS * (layout.lines if whole else sweep.lines)
            self.brought.beats[port] += asked + (0 if sweep.value else layout.exponents)
