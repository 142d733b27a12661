"""A layer of Llama-2-7B at full size: what runs is what is claimed, on the RTL as predicted."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hwroute.isa.fields import BEAT_BYTES
from hwroute.memory_map import Content
from hwroute.models.interpreter import Interpreter
from hwroute.models.interpreter.kv import FIELD
from hwroute.program import Program
from hwroute.rtl.issue_layouts import DONE, ISSUED
from hwroute.sim.machine.full_layer import (
    Comparison,
    Span,
    layer_cycles,
    measure,
    page,
    predict,
    spans_of,
    spans_of_model,
)
from hwroute.sim.machine.full_layer_program import (
    CONFIG,
    CONTEXT,
    EXECUTED,
    TOKEN,
    executing,
    step_image,
    step_program,
)
from hwroute.sim.performance.result import Run

RECORDED = Path(__file__).parents[3] / "docs" / "results" / "full-layer.json"
TOLERANCE = 0.03
"""Of the cycles that the performance model predicts (architecture, held to the RTL)."""


@pytest.fixture(scope="module")
def program() -> Program:
    return step_program()


@pytest.mark.slow
def test_the_step_is_one_whole_layer_with_a_quarter_of_its_entries_reused(
    program: Program,
) -> None:
    interpreter = Interpreter(program, step_image(program))
    executed = interpreter.generate([TOKEN] * CONTEXT, 1).executed
    assert executed[:, :, -1].tolist() == EXECUTED
    assert (executed[1, 0, : CONTEXT - 1] == executing()).all()
    order = interpreter._kv._order
    assert len(order) == CONTEXT - 1
    assert (order[:, FIELD["hit"]] == 1).sum() == CONTEXT // 4
    assert not interpreter.overflowed


def test_weights_are_those_of_an_unsliced_layer(program: Program) -> None:
    layer = [one for one in program.memory.regions if one.name.startswith("model.layers.1.")]
    beats = sum(one.size for one in layer if one.content is Content.MATRIX)
    # INT4: two weights a byte.
    weights = 2 * beats * CONFIG.kv.hbm_ports * BEAT_BYTES
    assert weights == 4 * 4096 * 4096 + 3 * 4096 * 11008


@pytest.fixture(scope="module")
def predicted(program: Program) -> Run:
    executed = np.ones((2, 2, CONTEXT), np.bool_)
    executed[1, 0, : CONTEXT - 1] = executing()
    executed[:, :, -1] = EXECUTED
    return predict(program, executed)


def test_the_prediction_is_that_of_the_whole_layer(program: Program, predicted: Run) -> None:
    entry = 2 * 4096 * 2
    assert predicted.traffic.kinds["kv_hits"] == CONTEXT // 4 * entry
    names = {program.instructions[one.index].name for one in predicted.events}
    assert {"kv.order", "scores", "values", "divide", "swiglu", "kv.write", "argmax"} <= names


def test_the_prediction_is_still_that_of_the_recorded_run(program: Program, predicted: Run) -> None:
    """The model must not drift from what the RTL took when it last ran, which takes minutes."""
    recorded = json.loads(RECORDED.read_text(encoding="utf-8"))
    layer = layer_cycles(program, spans_of_model(predicted))
    assert abs(predicted.cycles / recorded["cycles"]["rtl"] - 1) <= TOLERANCE
    assert abs(layer / recorded["layer_cycles"]["rtl"] - 1) <= TOLERANCE


def test_spans_of_a_log(tmp_path: Path) -> None:
    """A unit ends its instructions in order, whatever others do meanwhile."""
    log = tmp_path / "log.txt"
    lines = [
        ("I", "npe", 10, ISSUED, 3),
        ("I", "array", 11, ISSUED, 4),
        ("I", "npe", 12, ISSUED, 5),
        ("D", "npe", 20, DONE, 3),
        ("D", "npe", 25, DONE, 5),
        ("D", "array", 30, DONE, 4),
    ]
    text = [
        f"{kind} {unit} {cycle} {index << layout['index'].offset:x}\n"
        for kind, unit, cycle, layout, index in lines
    ]
    log.write_text("".join(text), encoding="utf-8")
    assert list(spans_of(log)) == [Span(3, 10, 20), Span(5, 12, 25), Span(4, 11, 30)]


def test_the_page_has_both_sides(program: Program) -> None:
    operations = program.operations
    inside = [index for index, name in enumerate(operations) if name.startswith("layers.1.")]
    before = operations.index("layers.0.attention.q")
    run: Any = SimpleNamespace(
        cycles=2000, counters={"kv_hbm_entries": 894, "kv_buffer_entries": 128}
    )
    checked: Any = SimpleNamespace(
        run=run, lockstep=SimpleNamespace(events=123_456, instructions=350)
    )
    events = [(inside[-1], 1080.0, 1490.0), (inside[0], 985.0, 1080.0)]
    model: Any = SimpleNamespace(
        cycles=2020.0,
        events=[
            SimpleNamespace(index=index, issued=issued, retired=retired)
            for index, issued, retired in events
        ],
    )
    found = Comparison(
        program=program,
        checked=checked,
        model=model,
        rtl_spans=[Span(before, 0, 700), Span(inside[0], 1000, 1100), Span(inside[-1], 1090, 1500)],
    )
    assert found.layer == (500, 505)
    text = page(found)
    assert "| whole step | 2,000 | 2,020 | 1.010 |" in text
    assert "| layer 1 | 500 | 505 | 1.010 |" in text
    assert "894 from HBM, 128 from the history buffer" in text
    assert "25.0% of its 511 earlier tokens" in text
    assert program.instructions[inside[0]].name == "kv.prepare"
    assert "| kv.prepare | 1 | 100 | 95 | 0.950 |" in text
    assert "| matmul |" not in text, "an instruction of layer 0 does not count"


@pytest.mark.slow
@pytest.mark.cpp
def test_the_rtl_does_what_is_predicted() -> None:
    """Bit-exact, or `measure` raises; cycles of the step and of the layer."""
    found = measure()
    for rtl, model in ((found.checked.run.cycles, found.model.cycles), found.layer):
        assert abs(model / rtl - 1) <= TOLERANCE
    assert found.checked.run.counters["kv_buffer_entries"] == CONTEXT // 4
