"""The scores unit among models of memories, KV unit and array, against the interpreter."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from hwroute.config import Config
from hwroute.isa.instruction import Instruction
from hwroute.models.ops.columns import columns_of
from hwroute.rtl.array_layouts import Mode, o_payload, x_payload
from hwroute.rtl.column_ports import ColumnShape
from hwroute.rtl.kernel_loader import kernel_payload
from hwroute.rtl.scores import ScoresControl
from hwroute.timing import array_cycles
from tests.rtl.attention_bench import AttentionBench, small
from tests.rtl.stream_ends import integer, value_of


@dataclass
class ArrayModel:
    """The PE array by the golden operators: tiles of K, beats of queries, rows.

    filled: of each row sent, the columns that the unit gave a vector.
    """

    config: Config
    send: Callable[[int, int], None]
    rng: np.random.Generator
    beats: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.shape = ColumnShape.of(self.config)
        self.columns = columns_of(self.config.numerics)
        self.tiles: deque[tuple[int, Any, int]] = deque()
        self.filling: list[Any] = []
        self.sums: dict[int, Any] = {}
        self.filled: list[int] = []

    def take_kv(self, payload: int, cycle: int) -> None:
        beat = value_of(kernel_payload(self.shape), payload)
        assert not beat["values"], "V instead of K"
        self.filling += list(beat["vectors"].astype(np.uint16))
        if beat["last"] or len(self.filling) == self.shape.fp16_columns:
            # Columns that nothing was written to hold what they held.
            tile = self.rng.integers(0, 0x7C00, (self.shape.fp16_columns, 64)).astype(np.uint16)
            tile[: len(self.filling)] = self.filling
            self.tiles.append((cycle + 1, tile, len(self.filling)))
            self.filling = []

    def has_room(self, _cycle: int) -> bool:
        return len(self.tiles) < self.shape.tiles

    def can_start(self, cycle: int) -> bool:
        return bool(self.tiles) and self.tiles[0][0] < cycle

    def take_beat(self, payload: int, cycle: int) -> None:
        beat = value_of(x_payload(self.config), payload)
        self.beats.append((cycle, beat))
        assert beat["mode"] == Mode.SCORES.value
        slot, (_, tile, filled) = int(beat["slot"]), self.tiles[0]
        q = beat["lanes"].astype(np.uint16)
        product = self.columns.scores(q[None, None], tile[None])[0, 0]
        self.sums[slot] = product if beat["first"] else self.sums[slot] + product
        if not beat["hold"]:
            self.tiles.popleft()
        if beat["last"]:
            self.filled.append(filled)
            columns = self.rng.integers(0, 1 << 32, self.config.array.columns)
            columns[: len(product)] = self.sums.pop(slot).view(np.uint32)
            row = integer(o_payload(self.config), {"columns": columns, "slot": slot})
            self.send(row, cycle + array_cycles(aligned=True))


class Bench(AttentionBench):
    """The unit, its surroundings, and the interpreter's state."""

    name, control, array_model = "scores", ScoresControl, ArrayModel
    kinds = ("lines", "exponents")

    def fill(self, slots: Any, vector: int) -> None:
        entries, lines = self.vectors.shape[:2]
        self.exponents = self.rng.integers(0, 31, (entries, lines)).astype(np.uint8)
        slots[:, :vector] = self.vectors.view(np.uint8).reshape(entries, -1)
        slots[:, vector : vector + lines] = self.exponents

    def brought(self, entry: int, at: int) -> dict[str, int]:
        return super().brought(entry, at) | {"exponents": int(self.exponents[entry, at])}

    def look(self, context: Any) -> None:
        self.overflowed |= bool(context.get(self.unit.overflow))

    def add(self, rows: int, **fields: int) -> None:
        """Add an instruction for a tile of `rows`."""
        number = len(self.issued)
        heads, lines = fields.get("heads", 1), fields.get("head_lines", 1)
        values = {
            "heads": 1,
            "queries": 1,
            "head_lines": 1,
            "pitch": 16,
            "q": 8 + number % 4,
            "q_pitch": heads * lines,
            "k": 300 + number % 4,
            "out": 512 + 128 * (number % 4),
            "out_pitch": -(-(len(self.kv.tokens) + 1) // 64),
            "maximum": 200 * (number % 4),
        }
        self.issued.append((Instruction("scores", values | fields), rows))

    def run(self, *limits: int, **options: Any) -> int:
        """As every bench does; what overflows is seen as well."""
        self.overflowed = False
        cycles = super().run(*limits, **options)
        assert self.overflowed == bool(self.state.overflowed)
        return cycles


@pytest.fixture
def bench() -> type[Bench]:
    return Bench


@pytest.fixture
def config_of() -> Callable[..., Config]:
    return small
