"""A layer of Llama-2-7B at full size: what runs is what is claimed, on the RTL as predicted."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hwroute.models.image import Image
from hwroute.models.interpreter import Interpreter
from hwroute.models.interpreter.kv import FIELD
from hwroute.program import Program
from hwroute.rtl.issue_layouts import DONE, ISSUED
from hwroute.sim.machine.full_layer import Comparison, Span, measure, page, predict, spans_of
from hwroute.sim.machine.full_layer_program import CONTEXT, EXECUTED, TOKEN, step_program

TOLERANCE = 0.03
"""Of the cycles that the performance model predicts (architecture, held to the RTL)."""


@pytest.fixture(scope="module")
def made() -> tuple[Program, Image]:
    return step_program()


@pytest.fixture(scope="module")
def executed(made: tuple[Program, Image]) -> Any:
    """Run the interpreter; return its decisions, having looked at the last order."""
    interpreter = Interpreter(*made)
    generation = interpreter.generate([TOKEN] * CONTEXT, 1)
    order = interpreter._kv._order
    assert len(order) == CONTEXT - 1
    assert (order[:, FIELD["hit"]] == 1).sum() == CONTEXT // 4
    assert not interpreter.overflowed
    return generation.executed


def test_the_step_is_one_whole_layer_with_a_quarter_of_its_entries_reused(executed: Any) -> None:
    assert executed[:, :, -1].tolist() == EXECUTED
    assert (~executed[1, 0, : CONTEXT - 1]).sum() == CONTEXT // 4


def test_weights_are_those_of_an_unsliced_layer(made: tuple[Program, Image]) -> None:
    program, image = made
    layer = [one for one in program.memory.regions if one.name.startswith("model.layers.1.")]
    matrices = [one for one in layer if one.content.value == "matrix"]
    # INT4: two weights a byte.
    weights = sum(2 * image.hbm[:, one.address : one.end].nbytes for one in matrices)
    assert weights == 4 * 4096 * 4096 + 3 * 4096 * 11008


def test_the_prediction_covers_the_whole_layer(made: tuple[Program, Image], executed: Any) -> None:
    run = predict(made[0], executed)
    names = {made[0].instructions[one.index].name for one in run.events}
    assert {"kv.order", "scores", "values", "divide", "swiglu", "kv.write", "argmax"} <= names
    # The layer's weights at the peak of the ports are 49,408 cycles.
    assert run.cycles > 49_408


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


def test_the_page_has_both_sides(made: tuple[Program, Image]) -> None:
    program, _ = made
    operations = program.operations
    inside = [index for index, name in enumerate(operations) if name.startswith("layers.1.")]
    before = operations.index("layers.0.attention.q")
    run: Any = SimpleNamespace(
        cycles=2000, counters={"kv_hbm_entries": 894, "kv_buffer_entries": 128}
    )
    checked: Any = SimpleNamespace(
        run=run, lockstep=SimpleNamespace(events=123_456, instructions=350)
    )
    model: Any = SimpleNamespace(cycles=2020.0)
    found = Comparison(
        program=program,
        checked=checked,
        model=model,
        rtl_spans=[Span(before, 0, 700), Span(inside[0], 1000, 1100), Span(inside[-1], 1090, 1500)],
        model_spans=[Span(inside[-1], 1080.0, 1490.0), Span(inside[0], 985.0, 1080.0)],
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
