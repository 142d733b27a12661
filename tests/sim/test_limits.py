"""What limits a decode step: the parts add up, and the pages say what was measured."""

import json
import re
from pathlib import Path

import pytest

from hwroute.api.programs import compile_model
from hwroute.config import PRESETS
from hwroute.sim.performance.breakdown import operation_kinds
from hwroute.sim.performance.executor import Setup
from hwroute.sim.performance.generation import measure, step_cycles
from hwroute.sim.performance.limits import lost_cycles, needed_cycles
from hwroute.sim.performance.limits_page import page
from hwroute.sim.performance.limits_study import EVERY, KEY, MECHANISMS, without
from hwroute.sim.performance.mechanisms import Mechanisms
from hwroute.sim.performance.workload import Rates, synthetic

DOCS = Path(__file__).parents[2] / "docs"

PRODUCTS = (
    *("attention.q", "attention.k", "attention.v", "attention.o"),
    *("ffn.gate", "ffn.down", "head"),
)
BETWEEN_PRODUCTS = ("residual", "divide", "normalise", "rotate", "swiglu")
"""What `docs/performance.md` adds up."""


def test_needed_and_lost_cycles_are_those_of_the_step() -> None:
    program = compile_model("tiny", config=PRESETS["demo"])
    workload = synthetic(Rates.uniform(6, 0.3), prompt=20, generate=5)
    result = measure(Setup(program=program, workload=workload))
    kinds, rate = operation_kinds(program), 100.0
    for run in result.steps.values():
        needed, lost = needed_cycles(run, kinds, rate), lost_cycles(run, kinds, rate)
        assert sum(needed.values()) + sum(lost.values()) == pytest.approx(step_cycles(run))
        used = run.traffic.kinds["weights"] + run.traffic.kinds["kv_read"]
        assert sum(needed.values()) == pytest.approx(used / rate)
        assert lost["waiting for reduce"] > 0


def test_what_is_left_out_of_all_mechanisms_is_only_what_needs_it() -> None:
    for name, own in MECHANISMS.items():
        rest = without(name)
        dropped = {key for key in EVERY if key not in rest}
        assert dropped <= {*own, KEY + "speculated_stripes"}
        assert dropped
        switches = {key[len(KEY) :]: on for key, on in rest.items() if key.startswith(KEY)}
        assert Mechanisms(**switches) != Mechanisms()


def test_the_page_is_that_of_its_record() -> None:
    record = json.loads((DOCS / "results" / "limits.json").read_text(encoding="utf-8"))
    assert page(record) == (DOCS / "results" / "limits.md").read_text(encoding="utf-8")


def test_the_documentation_tells_what_was_measured() -> None:
    text = (DOCS / "performance.md").read_text(encoding="utf-8")
    measured = (DOCS / "results" / "limits.md").read_text(encoding="utf-8")
    figures = re.findall(r"\b\d+\.\d\d%?|\b\d{2,3},\d{3}\b", text)
    rows = re.findall(r"^\| ([\w. ]+) \| [\d,]+ \| ([\d,]+) \|", measured, re.MULTILINE)
    lost = {name: int(cycles.replace(",", "")) for name, cycles in rows}
    products = sum(lost[name] for name in PRODUCTS)
    waits = sum(lost[f"waiting for {name}"] for name in BETWEEN_PRODUCTS)
    sums = {f"{products:,}", f"{waits:,}"}
    known = {figure for figure in figures if figure in measured}
    assert len(known) > 40
    assert set(figures) - known == sums
