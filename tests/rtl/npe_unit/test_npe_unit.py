# amaranth: UnusedElaboratable=no
"""The machine's NPE against the interpreter's, instruction by instruction and in sequence."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hwroute import timing
from hwroute.config import PRESETS
from hwroute.isa.fields import LINE_ELEMENTS
from hwroute.isa.instruction import Instruction, fp32_pattern
from hwroute.models.interpreter.state import fp32_lines
from hwroute.rtl.emit import emit
from hwroute.rtl.npe_unit import NPEUnit

DEMO = PRESETS["demo"]
TILE = DEMO.array.accumulator_rows
ZONE = 96
"""Lines of a zone: 0 to 3 hold FP16, 4 holds FP32."""
FLOATS = 4 * ZONE
SUMS = DEMO.memory.statistics // 2
"""Words below are never written; those from here on are what reductions write."""
PITCH = ZONE // TILE


def memories(rng: np.random.Generator) -> tuple[Any, Any, Any]:
    """Return lines, words and planes: finite FP16, FP32 apart from it, statistics above 0."""
    lines = DEMO.memory.scratchpad_bytes // (2 * LINE_ELEMENTS)
    half = rng.standard_normal((lines, LINE_ELEMENTS)) * 2.0 ** rng.integers(-3, 4, (lines, 1))
    patterns = half.astype(np.float16).view(np.uint16)
    shape = (lines - FLOATS, LINE_ELEMENTS // 2)
    floats = np.float32(rng.standard_normal(shape) * 2.0 ** rng.integers(-9, 9, (len(shape), 1))[0])
    patterns[FLOATS:] = fp32_lines(floats)
    words = np.float32(rng.uniform(0.1, 90, DEMO.memory.statistics)).view(np.uint32)
    planes = rng.integers(0, 2, (DEMO.memory.planes, TILE)) == 1
    planes[1], planes[2], planes[3] = False, True, np.arange(TILE) == TILE - 1
    return patterns, words, planes


def zones(rng: np.random.Generator) -> list[int]:
    """Return first lines of FP16 zones, each only once."""
    return [int(one) for one in ZONE * rng.permutation(4)]


def pitch(rng: np.random.Generator, lines: int) -> int:
    return int(rng.integers(lines, PITCH + 1))


def reduce(rng: np.random.Generator, plane: int) -> Instruction:
    x, router, *_ = zones(rng)
    lines = int(rng.integers(1, 5))
    values = {"x": x, "x_pitch": pitch(rng, lines), "lines": lines, "router": router}
    values |= {"routed": int(rng.integers(0, 2)), "to": SUMS + int(rng.integers(0, 64))}
    return Instruction("reduce", values | {"pitch": int(rng.integers(TILE, 60)), "plane": plane})


def normalise(rng: np.random.Generator, plane: int) -> Instruction:
    x, gain, out, _ = zones(rng)
    lines = int(rng.integers(1, 5))
    values = {"x": x, "x_pitch": pitch(rng, lines), "gain": gain, "lines": lines, "plane": plane}
    values |= {"out": out, "out_pitch": pitch(rng, lines), "squares": int(rng.integers(0, 99))}
    if rng.integers(0, 2):
        values |= {"out": x, "out_pitch": values["x_pitch"]}
    inverse = fp32_pattern(float(rng.uniform(0.001, 0.1)))
    return Instruction("normalise", values | {"inverse": inverse, "epsilon": fp32_pattern(1e-5)})


def rotate(rng: np.random.Generator, plane: int) -> Instruction:
    x, table, *_ = zones(rng)
    heads, head_lines = [(1, 1), (3, 1), (2, 2), (1, 4), (4, 1)][rng.integers(0, 5)]
    values = {"x": x, "x_pitch": pitch(rng, heads * head_lines), "table": table, "plane": plane}
    values |= {"table_pitch": int(rng.integers(0, PITCH)), "heads": heads}
    return Instruction("rotate", values | {"head_lines": head_lines})


def swiglu(rng: np.random.Generator, plane: int) -> Instruction:
    x, out, *_ = zones(rng)
    lines = int(rng.integers(1, 4))
    values = {"x": x, "x_pitch": pitch(rng, 2 * lines), "out": out, "out_pitch": pitch(rng, lines)}
    if rng.integers(0, 2):
        values |= {"out": x, "out_pitch": values["x_pitch"]}
    return Instruction("swiglu", values | {"lines": lines, "plane": plane})


def residual(rng: np.random.Generator, plane: int) -> Instruction:
    x, y, *_ = zones(rng)
    lines = int(rng.integers(1, 6))
    values = {"x": x, "x_pitch": pitch(rng, lines), "y": y, "y_pitch": pitch(rng, lines)}
    return Instruction("residual", values | {"lines": lines, "plane": plane})


def divide(rng: np.random.Generator, plane: int) -> Instruction:
    heads, head_lines = [(1, 1), (3, 1), (2, 1), (1, 3)][rng.integers(0, 4)]
    elements = int(rng.integers(1, 64 * head_lines + 1))
    values = {"x": FLOATS, "x_pitch": pitch(rng, 2 * heads * head_lines), "heads": heads}
    values |= {"head_lines": head_lines, "elements": elements, "sum": int(rng.integers(0, 60))}
    values |= {"out": zones(rng)[0], "out_pitch": PITCH, "offset": int(rng.integers(0, 64))}
    return Instruction("divide", values | {"pitch": int(rng.integers(1, 60)), "plane": plane})


def argmax(rng: np.random.Generator, plane: int) -> Instruction:
    values = {"x": FLOATS + int(rng.integers(0, 9)), "count": int(rng.integers(1, 1000))}
    values |= {"base": int(rng.integers(0, 1 << 16)), "first": 1, "last": 1, "plane": plane}
    return Instruction("argmax", values)


KINDS = (reduce, normalise, rotate, swiglu, residual, divide, argmax)


@pytest.mark.cpp
@pytest.mark.parametrize("kind", KINDS)
def test_every_instruction_is_as_interpreted(npe: Any, tmp_path: Path, kind: Any) -> None:
    """Random sizes, rows and planes: every row, no row, the last row, random rows."""
    rng = np.random.default_rng(51)
    state = npe.state(*memories(rng))
    planes = (0, 0, 1, 2, 3, 4, 5, 6, 7)
    program = [
        npe.issue(one=kind(rng, int(rng.choice(planes))), rows=int(rng.integers(1, TILE + 1)))
        for _ in range(24)
    ]
    npe.check(tmp_path, state, program)


@pytest.mark.cpp
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_instructions_see_what_those_before_them_wrote(
    npe: Any, tmp_path: Path, stall: float
) -> None:
    """Random instructions of all kinds one after the other, zones and sums shared."""
    rng = np.random.default_rng(52)
    state = npe.state(*memories(rng))
    program = []
    for _ in range(60):
        kind, plane = KINDS[rng.integers(0, len(KINDS))], int(rng.integers(0, 8))
        program.append(npe.issue(one=kind(rng, plane), rows=int(rng.integers(1, TILE + 1))))
    npe.check(tmp_path, state, program, stall)


@pytest.mark.cpp
def test_a_reduction_feeds_the_normalisation_behind_it(npe: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(53)
    state = npe.state(*memories(rng))
    fields = {"x": 0, "x_pitch": PITCH, "lines": PITCH}
    inverse, epsilon = fp32_pattern(1 / (64 * PITCH)), fp32_pattern(1e-5)
    program = [
        Instruction("reduce", fields | {"router": ZONE, "routed": 1, "to": SUMS, "pitch": TILE}),
        Instruction(
            "normalise",
            fields
            | {"out": 2 * ZONE, "out_pitch": PITCH, "gain": ZONE, "squares": SUMS}
            | {"inverse": inverse, "epsilon": epsilon},
        ),
    ]
    npe.check(tmp_path, state, [npe.issue(one=one, rows=TILE) for one in program])
    assert len(np.unique(state.scratchpad[2 * ZONE : 3 * ZONE])) > 1000


@pytest.mark.cpp
def test_parts_of_an_argmax_make_one_token(npe: Any, tmp_path: Path) -> None:
    """Three parts, the largest in each of them in turn; equal logits give the lowest id."""
    rng = np.random.default_rng(54)
    lines, words, planes = memories(rng)
    parts = [(0, 320), (10, 33), (20, 100)]
    program = []
    for round_, winner in enumerate((0, 1, 2, 0)):
        for part, (line, count) in enumerate(parts):
            values = {"x": FLOATS + 30 * round_ + line, "count": count, "base": 1000 * part}
            values |= {"first": int(part == 0), "last": int(part == 2)}
            program.append(npe.issue(one=Instruction("argmax", values), rows=1))
            if part == winner or round_ == 3:
                at = lines[FLOATS + 30 * round_ + line].view(np.float32)
                at[7] = at[9] = 1e9
    run = npe.check(tmp_path, npe.state(lines, words, planes), program)
    assert run.outputs["tokens"].tolist() == [7, 1007, 2007, 7]


@pytest.mark.cpp
def test_failures_are_answered_and_the_next_instruction_runs(npe: Any, tmp_path: Path) -> None:
    """Illegal rows; each operand beyond the end of its memory, by one row."""
    lines, statistics, planes = memories(np.random.default_rng(55))
    lines[FLOATS:] = lines[: len(lines) - FLOATS]
    state = npe.state(lines, statistics, planes)
    end, words = len(state.scratchpad), len(state.statistics)
    plain = {"x": 0, "x_pitch": 1, "y": ZONE, "y_pitch": 1, "lines": 1}
    scaled = {"x": 0, "x_pitch": 1, "out": ZONE, "out_pitch": 1, "gain": 0, "lines": 1}
    reduced = {"x": 0, "x_pitch": 1, "lines": 1, "router": 0, "routed": 1, "to": 0, "pitch": TILE}
    last = end - TILE + 1
    cases: list[tuple[str, dict[str, int], int, bool]] = [
        ("residual", plain, 0, True),
        ("residual", plain, TILE + 1, True),
        ("residual", plain, TILE, False),
        ("residual", plain | {"x": last}, TILE, True),
        ("residual", plain | {"x": last}, TILE - 1, False),
        ("residual", plain | {"y": last}, TILE, True),
        ("normalise", scaled | {"out": last}, TILE, True),
        ("normalise", scaled | {"out_pitch": 4095}, TILE, True),
        ("normalise", scaled | {"squares": words - TILE + 1}, TILE, True),
        ("normalise", scaled | {"squares": words - TILE}, TILE, False),
        ("reduce", reduced | {"router": end - 1}, 1, True),
        ("reduce", reduced | {"to": words - 2 * TILE - 3}, 4, True),
        ("reduce", reduced | {"to": words - 2 * TILE - 3}, 3, False),
    ]
    program = [
        npe.issue(one=Instruction(name, values), rows=rows, fails=fails)
        for name, values, rows, fails in cases
    ]
    npe.check(tmp_path, state, program)


@pytest.mark.cpp
def test_a_result_that_saturates_is_reported(npe: Any, tmp_path: Path) -> None:
    lines, words, planes = memories(np.random.default_rng(57))
    lines[0, 5] = lines[ZONE, 5] = np.float16(60000).view(np.uint16)
    state = npe.state(lines, words, planes)
    fields = {"x": 0, "x_pitch": 1, "y": ZONE, "y_pitch": 1, "lines": 1}
    run = npe.check(tmp_path, state, [npe.issue(one=Instruction("residual", fields), rows=1)])
    assert run.results["saturated"]


ROWS = {"x": 0, "x_pitch": PITCH, "out": 2 * ZONE, "out_pitch": PITCH}
SCALE = {"inverse": fp32_pattern(0.01), "epsilon": 0, "gain": ZONE + 1}


@pytest.mark.cpp
def test_cycles_are_those_of_the_timing_module(npe: Any, tmp_path: Path) -> None:
    """A line a cycle in every operation, whichever banks its operands begin in."""
    state = npe.state(*memories(np.random.default_rng(56)))
    heads = {"heads": 6, "head_lines": 1}
    cases: list[tuple[str, dict[str, int], int, int]] = [
        ("normalise", ROWS | SCALE | {"lines": PITCH}, TILE, PITCH),
        ("normalise", ROWS | SCALE | {"lines": 1}, 1, 1),
        ("rotate", {"x": 0, "x_pitch": PITCH, "table": ZONE, "table_pitch": 1} | heads, TILE, 6),
        ("swiglu", ROWS | {"lines": 3}, TILE, 6),
        ("residual", {"x": 0, "x_pitch": 6, "y": ZONE, "y_pitch": 6, "lines": 6}, TILE, 6),
        (
            "divide",
            ROWS | {"x": FLOATS, "heads": 3, "head_lines": 1, "elements": 64, "pitch": TILE},
            TILE,
            6,
        ),
    ]
    issues = [
        npe.issue(one=Instruction(name, values), rows=rows) for name, values, rows, _ in cases
    ]
    run = npe.check(tmp_path, state, issues)
    took = run.out_cycles["done"] - run.in_cycles["issue"]
    least = np.array([timing.npe_cycles(rows * lines) for _, _, rows, lines in cases])
    # Operands that begin in the same bank collide once; x passes the bank of the table, whose line
    # is read for every head, once in as many lines as there are banks.
    passes = TILE * PITCH // DEMO.memory.scratchpad_banks
    most = least + [1 + passes * (name == "rotate") for name, *_ in cases]
    assert np.all((took >= least) & (took <= most)), took - least


@pytest.mark.cpp
@pytest.mark.parametrize("routed", [0, 1])
def test_reductions_take_the_cycles_of_the_timing_module(
    npe: Any, tmp_path: Path, routed: int
) -> None:
    state = npe.state(*memories(np.random.default_rng(58)))
    fields = {"x": 0, "x_pitch": PITCH, "router": ZONE, "routed": routed, "to": SUMS, "pitch": 20}
    cases = [(1, 1), (1, 6), (3, 5), (5, 6), (8, 4), (9, 6), (TILE, 6), (13, 4)]
    issues = [
        npe.issue(one=Instruction("reduce", fields | {"lines": lines}), rows=rows)
        for rows, lines in cases
    ]
    run = npe.check(tmp_path, state, issues)
    took = run.out_cycles["done"] - run.in_cycles["issue"]
    least = [timing.npe_reduce_cycles(rows, lines, 1 + 2 * routed) for rows, lines in cases]
    most = [2 * routed * lines * -(-rows // 8) for rows, lines in cases]
    assert np.all((took >= least) & (took <= np.add(least, most))), took - least


def test_it_is_emitted() -> None:
    """At u280 as at any size: the number of lanes is the line's."""
    assert emit(NPEUnit(PRESETS["u280"]), "npe_unit").count("hwroute_block_dot dot_") == 3


def test_wrong_sizes_are_refused() -> None:
    sizes: Any = "demo"
    with pytest.raises(TypeError, match="Sizes must be a Config, not 'demo'"):
        NPEUnit(sizes)
