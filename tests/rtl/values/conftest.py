"""The values unit among models of memories, KV unit and array, against the interpreter."""

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from hwroute.config import Config
from hwroute.isa.fields import Register
from hwroute.isa.instruction import Instruction
from hwroute.models.interpreter.state import MachineError
from hwroute.models.ops.columns import columns_of
from hwroute.models.ops.reduction import ceiling_of_maximum
from hwroute.rtl import softmax
from hwroute.rtl.array_layouts import Mode, o_payload, x_payload
from hwroute.rtl.column_ports import ColumnShape
from hwroute.rtl.exp2 import Probability
from hwroute.rtl.kernel_loader import kernel_payload
from hwroute.rtl.softmax import NO_MAXIMUM
from hwroute.rtl.statistics_layouts import STATISTIC
from hwroute.rtl.values import ValuesControl
from hwroute.timing import STATISTICS_READ_CYCLES, array_cycles
from tests.rtl.attention_bench import AttentionBench, small
from tests.rtl.stream_ends import integer, value_of


@dataclass
class ArrayModel:
    """The PE array by the golden operators: tiles of V, beats of probabilities, rows."""

    config: Config
    send: Callable[[int, int], None]
    rng: np.random.Generator
    beats: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.shape = ColumnShape.of(self.config)
        self.columns = columns_of(self.config.numerics)
        self.tiles: deque[tuple[int, Any]] = deque()
        self.filling: list[Any] = []
        self.sums: dict[int, list[Any]] = {}
        self.next_beat = 0

    def take_kv(self, payload: int, cycle: int) -> None:
        beat = value_of(kernel_payload(self.shape), payload)
        assert beat["values"], "K instead of V"
        self.filling += list(beat["vectors"].astype(np.uint16))
        self.next_beat = cycle + self.shape.parts
        if beat["last"] or len(self.filling) == 64:
            # Lanes that nothing was written to hold what they held.
            tile = self.rng.integers(0, 0x7C00, (64, 64)).astype(np.uint16)
            tile[: len(self.filling)] = self.filling
            self.tiles.append((cycle + self.shape.parts, tile))
            self.filling = []

    def has_room(self, cycle: int) -> bool:
        return len(self.tiles) < self.shape.tiles and cycle >= self.next_beat

    def can_start(self, cycle: int) -> bool:
        return bool(self.tiles) and self.tiles[0][0] < cycle

    def take_beat(self, payload: int, cycle: int) -> None:
        beat = value_of(x_payload(self.config), payload)
        self.beats.append((cycle, beat))
        assert beat["mode"] == Mode.VALUES.value
        assert not beat.get("ahead", 0)
        slot, part, tile = int(beat["slot"]), int(beat["part"]), self.tiles[0][1]
        assert slot % self.shape.parts == part
        if beat["first"]:
            self.sums[slot] = []
        self.sums[slot].append((beat["lanes"].astype(np.uint16), tile, int(beat["reference"])))
        if not beat["hold"]:
            self.tiles.popleft()
        if beat["last"]:
            self._finish(slot, part, cycle)

    def _finish(self, slot: int, part: int, cycle: int) -> None:
        p, v, references = zip(*self.sums.pop(slot), strict=True)
        assert len(set(references)) == 1
        joined = np.concatenate(p)[None, None], np.concatenate(v)[None]
        mixed = self.columns.values(*joined, np.array(references[0]).reshape(1, 1, 1))
        size = min(64, self.shape.fp16_columns)
        columns = self.rng.integers(0, 1 << 32, self.config.array.columns)
        columns[:size] = mixed[0, 0, part * size : (part + 1) * size].view(np.uint32)
        row = integer(o_payload(self.config), {"columns": columns, "slot": slot})
        self.send(row, cycle + array_cycles(aligned=True))


class Bench(AttentionBench):
    """The unit, its surroundings, and the interpreter's state; elements of V spread wide."""

    name, control, array_model = "values", ValuesControl, ArrayModel

    def __init__(self, config: Config, **options: Any):
        super().__init__(config, **{"sigma": 3.0} | options)

    def fill(self, slots: Any, vector: int) -> None:
        slots[:, -vector:] = self.vectors.view(np.uint8).reshape(len(slots), -1)

    def add(self, rows: int, **fields: int) -> None:
        """Add an instruction for a tile of `rows`, with scores, maxima and references for it."""
        number = len(self.issued)
        values = {
            "heads": 1,
            "queries": 1,
            "head_lines": 1,
            "pitch": 16,
            "v": 8,
            "out": 512 + 128 * (number % 4),
            "out_pitch": 2 * fields.get("heads", 1) * fields.get("head_lines", 1),
            "scores": 16 + 128 * (number % 3),
            "scores_pitch": -(-(len(self.kv.tokens) + 1) // 64),
            "maximum": 32 * (number % 22),
            "sum": 768,
        }
        one = Instruction("values", values | fields)
        self.issued.append((one, rows))
        # What cannot be there is for the unit to find out.
        with suppress(MachineError):
            self._prepare(one, rows)

    def _prepare(self, one: Instruction, rows: int) -> None:
        """Write what a scores instruction leaves in the statistics, for the scores that are there.

        Different instructions may share rows of scores, but not words of statistics.
        """
        self.state.registers[Register.ROWS] = rows
        held = self.state.selected(one["plane"])
        if not len(held):
            return
        heads, lines = one["heads"], one["head_lines"]
        kv_heads, size = self.golden._heads(one)
        visible = self.golden._visible(one, held)
        count = visible.shape[1]
        scores = self.golden._read_scores(one, held, count)
        maximum = np.full((heads, len(held)), NO_MAXIMUM)
        for row in range(len(held)):
            if visible[row].any():
                maximum[:, row] = ceiling_of_maximum(scores[:, row], visible[row])
        reference = np.zeros((heads, len(held), lines), np.int64)
        if len(self.kv.tokens):
            exponents = self.golden.columns.value_exponents(self.kv.values(one, kv_heads))
            seen = visible[None, :, : len(self.kv.tokens), None]
            reference = np.where(seen, np.repeat(exponents, size, axis=0)[:, None], 0).max(axis=2)
        words = np.concatenate([maximum[..., None], reference], axis=2).transpose(1, 0, 2)
        places = self.state.words(one, "maximum", held, heads * (1 + lines))
        self.state.statistics[places] = (
            words.reshape(len(held), -1).astype(np.int32).view(np.uint32)
        )

    def _connect(self) -> None:
        super()._connect()
        self._source("read_statistics", self.unit.statistics.response)
        self._sink("ask_statistics", self.unit.statistics.request, self._statistics)

    def _statistics(self, payload: int, cycle: int) -> None:
        numbers = self._numbers(payload)
        for number in numbers:
            word = {"value": int(self.words[number]), "last": number == numbers[-1]}
            self._give("read_statistics", cycle + STATISTICS_READ_CYCLES, integer(STATISTIC, word))


@pytest.fixture(autouse=True)
def whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put lanes in as they are: Amaranth's simulator knows no parts."""
    monkeypatch.setattr(softmax, "probability", Probability)


@pytest.fixture
def bench() -> type[Bench]:
    return Bench


@pytest.fixture
def config_of() -> Callable[..., Config]:
    return small
