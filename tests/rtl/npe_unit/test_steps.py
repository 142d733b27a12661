# amaranth: UnusedElaboratable=no
"""Which lines an NPE instruction asks for, in which order, and what goes along with them."""

from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hwroute.column_format import LANES
from hwroute.compiler import compile_program
from hwroute.config import PRESETS
from hwroute.isa.fields import Unit
from hwroute.isa.instruction import Instruction, fp32_pattern
from hwroute.models.library import named_policy
from hwroute.rtl.decoder import WORD
from hwroute.rtl.fused_reduction import fused_tile_layout
from hwroute.rtl.npe_feed import OPERAND_NAMES, LineFeed
from hwroute.rtl.npe_operands import OPERANDS, decode_operands
from hwroute.rtl.npe_rows import RowPlaces
from hwroute.rtl.npe_steps import LineSteps
from hwroute.rtl.row_list_layouts import ROW
from hwroute.rtl.scratchpad_layouts import ReadPort
from hwroute.rtl.statistics_layouts import STATISTIC
from hwroute.rtl.vector_layouts import vector_layout
from hwroute.shape import ModelShape
from hwroute.sim.stream_simulation import simulate_streams
from hwroute.sim.units import Run
from hwroute.timing import ROW_SLOTS


class Front(wiring.Component):
    """What an instruction goes through up to the vector datapath."""

    def __init__(self) -> None:
        super().__init__(
            {
                "word": In(WORD),
                "rows": In(stream.Signature(ROW)),
                **{name: Out(ReadPort()) for name in OPERAND_NAMES},
                "statistic": In(stream.Signature(STATISTIC)),
                "lines": Out(stream.Signature(vector_layout(LANES))),
                "tiles": Out(stream.Signature(fused_tile_layout())),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.places = places = RowPlaces()
        m.submodules.steps = steps = LineSteps()
        m.submodules.feed = feed = LineFeed()
        operands = Signal(OPERANDS)
        decode_operands(m, self.word, operands)
        for part in (places, steps, feed):
            m.d.comb += part.operands.eq(operands)
        connect(m, flipped(self.rows), places.i)
        connect(m, places.o, steps.i)
        connect(m, steps.o, feed.i)
        connect(m, flipped(self.statistic), feed.statistic)
        for name in (*OPERAND_NAMES, "lines", "tiles"):
            connect(m, getattr(feed, name), flipped(getattr(self, name)))
        return m


def places(one: Instruction, row: int) -> list[tuple[int, int, int]]:
    """Return (x, y, head) of every line of a row, written out by hand for each instruction."""
    start = one["x"] + row * one.values.get("x_pitch", 0)
    if one.name == "reduce":
        return [(start + k, one["router"] + k, 0) for k in range(one["lines"])]
    if one.name == "normalise":
        return [(start + k, one["gain"] + k, 0) for k in range(one["lines"])]
    if one.name == "residual":
        y = one["y"] + row * one["y_pitch"]
        return [(start + k, y + k, 0) for k in range(one["lines"])]
    if one.name == "swiglu":
        return [(start + k, 0, 0) for k in range(2 * one["lines"])]
    if one.name == "rotate":
        table, size = one["table"] + row * one["table_pitch"], one["head_lines"]
        return [
            (start + head * size + k, table + k, head)
            for head in range(one["heads"])
            for k in range(size)
        ]
    if one.name == "divide":
        size, used = 2 * one["head_lines"], -(-min(one["elements"], 64 * one["head_lines"]) // 32)
        return [
            (start + head * size + k, 0, head) for head in range(one["heads"]) for k in range(used)
        ]
    return [(one["x"] + k, 0, 0) for k in range(-(-one["count"] // 32))]


def run(one: Instruction, rows: list[int], stall: float = 0.0) -> Run:
    """Run an instruction on rows; compare addresses, and that every line has its operands."""
    rng = np.random.default_rng(61)
    reduces, is_argmax = one.name == "reduce", one.name == "argmax"
    row_places = [places(one, row) for row in ([0] if is_argmax else rows)]
    group = ROW_SLOTS if reduces else 1
    steps = []
    for start in range(0, len(row_places), group):
        part = row_places[start : start + group]
        steps += [(slot, *row[k], k) for k in range(len(part[0])) for slot, row in enumerate(part)]
    slot, x, y, head, index = np.array(steps).T
    last_index = len(row_places[0]) - 1
    reads = {"x": x, "y": y, "z": y + one.values.get("lines", 0)}
    if not (one.values.get("routed", one.name in ("normalise", "rotate", "residual"))):
        reads["y"] = reads["y"][:0]
    if not one.values.get("routed", 0):
        reads["z"] = reads["z"][:0]
    # Rows in turn share the line of weights: it is read once, for the first of them.
    turn = np.cumsum(slot == 0) - 1
    for name in ("y", "z"):
        reads[name] = reads[name][slot == 0] if len(reads[name]) else reads[name]
    data = {name: rng.integers(0, 1 << 16, (len(at), LANES)) for name, at in reads.items()}
    # A statistic a head: as many as steps that end one, row by row.
    ends = np.append(head[1:] != head[:-1], True) | (index == last_index)
    scaled = one.name in ("normalise", "divide")
    statistic = rng.integers(0, 1 << 32, int(ends.sum()) if scaled else 0)
    inputs = {f"{name}.response": lines for name, lines in data.items()}
    inputs["rows"] = {
        "row": np.array(rows),
        "last": np.arange(len(rows)) == len(rows) - 1,
        "empty": np.zeros(len(rows), int),
    }
    inputs["statistic"] = {"value": statistic, "last": np.zeros(len(statistic), int)}
    word = one.encode()
    expect = {f"{name}.request": len(at) for name, at in reads.items()}
    sink = "tiles" if reduces else "lines"
    ended = simulate_streams(
        Front(), inputs, expect | {sink: len(x)}, settings={"word": word}, stall=stall, seed=4
    )
    for name, at in reads.items():
        assert np.array_equal(ended.outputs[f"{name}.request"]["line"], at), name
    got = ended.outputs[sink]
    assert np.array_equal(got["x"], data["x"])
    begins, finishes = index + head == 0, (index == last_index)
    if is_argmax:
        begins, finishes = begins & bool(one["first"]), finishes & bool(one["last"])
    assert np.array_equal(got["first"], begins)
    assert np.array_equal(got["last"], finishes)
    if reduces:
        assert np.array_equal(got["slot"], slot)
        if one["routed"]:
            assert np.array_equal(
                got["weights"], np.stack([data["y"][turn], data["z"][turn]], axis=1)
            )
        return ended
    if len(data["y"]):
        assert np.array_equal(got["y"], data["y"])
    if scaled:
        assert np.array_equal(got["statistic"], statistic[np.cumsum(ends) - ends])
    if is_argmax or one.name == "divide":
        within = index if is_argmax else index % (-(-_count(one) // 32))
        assert np.array_equal(got["count"], np.minimum(32, _count(one) - 32 * within))
    if is_argmax:
        assert np.array_equal(got["base"], one["base"] + 32 * index)
    assert np.all(got["offset"] == one.values.get("offset", 0))
    assert np.all(got["inverse"] == one.values.get("inverse", 0))
    return ended


def _count(one: Instruction) -> int:
    return one["count"] if one.name == "argmax" else min(one["elements"], 64 * one["head_lines"])


FAR = {"x": 65535, "x_pitch": 4095}
"""Addresses that must not wrap."""
INSTRUCTIONS = [
    Instruction("reduce", FAR | {"lines": 3, "router": 65530, "routed": 1, "to": 7, "pitch": 9}),
    Instruction("reduce", {"x": 5, "x_pitch": 2, "lines": 1, "pitch": 9}),
    Instruction(
        "normalise",
        FAR
        | {"out": 9, "out_pitch": 9, "lines": 4, "gain": 65533}
        | {"squares": 3, "inverse": fp32_pattern(0.25), "epsilon": 1},
    ),
    Instruction(
        "rotate",
        {"x": 8, "x_pitch": 12, "table": 65535, "table_pitch": 4095, "heads": 3, "head_lines": 2},
    ),
    Instruction("swiglu", FAR | {"out": 3, "out_pitch": 1, "lines": 2}),
    Instruction("residual", FAR | {"y": 65535, "y_pitch": 4095, "lines": 5}),
    Instruction(
        "divide",
        FAR
        | {"out": 3, "out_pitch": 1, "offset": 63, "heads": 3, "head_lines": 2, "elements": 65}
        | {"sum": 4, "pitch": 5},
    ),
    Instruction(
        "divide",
        {"x": 0, "x_pitch": 9, "heads": 2, "head_lines": 1, "elements": 1000, "pitch": 5},
    ),
    Instruction("argmax", {"x": 65535, "count": 97, "base": 262000, "first": 1}),
    Instruction("argmax", {"x": 3, "count": 32, "base": 7, "last": 1}),
]


@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize("one", INSTRUCTIONS, ids=lambda one: one.name)
def test_lines_are_asked_for_in_order(one: Instruction, stall: float) -> None:
    """More rows than a group of a reduction holds; the last row of a tile of 256."""
    run(one, [0, 1, 5, 6, 7, 9, 13, 20, 100, 254, 255], stall)


@pytest.mark.parametrize("one", INSTRUCTIONS, ids=lambda one: one.name)
def test_a_line_leaves_every_cycle(one: Instruction) -> None:
    """From row to row without a gap, rows of one line too."""
    ended = run(one, list(range(20)))
    cycles = ended.out_cycles["tiles" if one.name == "reduce" else "lines"]
    assert np.all(np.diff(cycles) == 1)


def test_rows_of_one_line_leave_every_cycle() -> None:
    one = Instruction("residual", {"x": 0, "x_pitch": 1, "y": 99, "y_pitch": 1, "lines": 1})
    assert np.all(np.diff(run(one, list(range(20))).out_cycles["lines"]) == 1)


def writes(one: Instruction, row: int) -> list[tuple[int, int]]:
    """Return the lines that a row writes, each with the index of the step that completes it."""
    if one.name in ("reduce", "argmax"):
        return []
    if one.name == "divide":
        used = -(-_count(one) // 32)
        end = one["offset"] + one["heads"] * _count(one)
        result = []
        for line in range(-(-end // LANES)):
            head, element = divmod(min(end, LANES * (line + 1)) - 1 - one["offset"], _count(one))
            step = head * used + element // 32
            result.append((one["out"] + row * one["out_pitch"] + line, step))
        return result
    name = "x" if one.name in ("rotate", "residual") else "out"
    steps = 2 if one.name == "swiglu" else 1
    start = one[name] + row * one[f"{name}_pitch"]
    return [
        (start + line, steps * line + steps - 1) for line in range(len(places(one, row)) // steps)
    ]


def reads_what_it_wrote(one: Instruction, rows: int) -> bool:
    """Tell whether an instruction reads a line at a step behind one that writes it."""
    count = len(places(one, 0))
    written: dict[int, int] = {}
    for row in range(rows):
        for line, step in writes(one, row):
            written.setdefault(line, row * count + step)
    has_y = one.name in ("normalise", "rotate", "residual")
    return any(
        written.get(line, 1 << 60) < row * count + index
        for row in range(rows)
        for index, (x, y, _) in enumerate(places(one, row))
        for line in ((x, y) if has_y else (x,))
    )


def test_no_compiled_instruction_reads_what_it_wrote() -> None:
    """What the unit asks of programs; one row where the pitch says that there is no other."""
    shape = ModelShape(
        dim=256, layers=2, heads=4, kv_heads=2, head_dim=64, ffn_dim=1024, vocab=1000, context=64
    )
    seen = set()
    for config in (PRESETS["demo"], PRESETS["u280"]):
        program = compile_program(shape, named_policy("skipgpt"), config, model="small")
        for one in program.instructions:
            if one.unit is Unit.NPE:
                seen.add(one.name)
                rows = program.tile if one.values.get("x_pitch") else 1
                assert not reads_what_it_wrote(one, rows), one
    assert seen == {one.name for one in INSTRUCTIONS}
    forward = Instruction("swiglu", {"x": 0, "x_pitch": 8, "out": 3, "out_pitch": 8, "lines": 4})
    assert reads_what_it_wrote(forward, 1)
