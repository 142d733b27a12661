"""The paper's figures beside ours: what is compared, on a machine small enough for a test."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hwroute.config import PRESETS
from hwroute.errors import InputError
from hwroute.models.folder import ModelFolder
from hwroute.models.library import model_path
from hwroute.models.ops.kv import KVMemory
from hwroute.policy_terms import KVRule
from hwroute.sim.performance.executor import Machine
from hwroute.sim.performance.generation import measure
from hwroute.sim.performance.reproduce import paper, report, resources
from hwroute.sim.performance.reproduce.attention import (
    BASE,
    attention,
    configurations,
    decode_point,
    prefill_point,
)
from hwroute.sim.performance.reproduce.cases import Case, dealt, decode_steps, sublayer_cycles
from hwroute.sim.performance.reproduce.end_to_end import end_to_end
from hwroute.sim.performance.reproduce.free import free, neighbours
from hwroute.sim.performance.reproduce.kv_bandwidth import delivered, kv_bandwidth, variants
from hwroute.sim.performance.reproduce.kv_storage import kv_storage
from hwroute.sim.performance.reproduce.rounds import taken_by_array
from hwroute.sim.performance.reproduce.rows import TOLERANCE, Row
from hwroute.sim.performance.reproduce.run import NAMES, SECTIONS, run, steps
from hwroute.sim.performance.reproduce.sensitivity import FIGURES, RATE, SPEED, sensitivity
from hwroute.sim.performance.reproduce.table1 import table1

PROMPT, STEPS = 40, 4


@pytest.fixture(scope="module")
def case() -> Case:
    model = ModelFolder(model_path("tiny"))
    return Case(
        name="tiny", shape=model.shape, policy=model.policy, config=PRESETS["demo"], skip=0.25
    )


def test_the_paper_agrees_with_itself() -> None:
    printed = paper.load_paper()
    bandwidth, whole = printed.figures("kv-bandwidth"), printed.figures("end-to-end")
    assert 100 * bandwidth["dense"].value / 460.8 == pytest.approx(
        bandwidth["dense_share"].value, abs=0.05
    )
    shares = [one.efficiency_percent for one in printed.peer if one.efficiency_percent]
    ours = whole["bandwidth_efficiency"].value
    assert ours / max(shares) == pytest.approx(whole["least_advantage"].value, abs=0.01)
    assert ours / min(shares) == pytest.approx(whole["largest_advantage"].value, abs=0.02)
    assert all(one.place for one in (*printed.figure, *printed.resource))


def test_a_file_of_another_format_is_refused(tmp_path, monkeypatch) -> None:
    file = tmp_path / "paper.toml"
    file.write_text("format = 2\nfigure = []\nresource = []\npeer = []\n", encoding="utf-8")
    monkeypatch.setattr(paper, "FILE", file)
    with pytest.raises(InputError, match="format must be 1, not 2"):
        paper.load_paper.__wrapped__()


@pytest.mark.parametrize(("ours", "said"), [(1.04, "n"), (1.06, "n; why"), (0.94, "n; why")])
def test_a_reason_is_given_where_ours_differs_by_more_than_the_tolerance(ours, said) -> None:
    row = Row(what="x", unit="", ours=ours, paper=1.0, note="n", reason="why")
    assert row.remark == said
    assert row.differs == (abs(ours - 1) > TOLERANCE)


def test_steps_skip_at_equal_distances(case) -> None:
    drawn, even = (case.setup(PROMPT, STEPS + 1, even=even).workload for even in (False, True))
    assert (drawn.executed[:, :, :PROMPT] == even.executed[:, :, :PROMPT]).all()
    skipped = ~even.executed[:, :, PROMPT:]
    # Once in four steps, each of them.
    assert (skipped[1:].sum(axis=2) == 1).all()
    assert (skipped[0].sum(axis=1) == [0, 1]).all()
    assert not (skipped == ~drawn.executed[:, :, PROMPT:]).all()


@pytest.mark.parametrize("rule", [KVRule.REUSE, KVRule.DENSE])
def test_slots_are_dealt_as_the_machine_deals_them(case, rule) -> None:
    setup = replace(case, kv=rule).setup(PROMPT, 2)
    kv = KVMemory(setup.program.config.kv)
    Machine(setup, kv=kv).prefill()
    for layer in range(case.shape.layers):
        expected = kv.directory.entries(layer, PROMPT)
        assert dealt(setup).directory.entries(layer, PROMPT) == expected


def test_steps_are_those_of_a_generation(case) -> None:
    setup = case.setup(PROMPT, STEPS + 1)
    expected = measure(setup, samples=None)
    cycles = [run.marks[1] - run.marks[0] for run in decode_steps(setup)]
    assert cycles == pytest.approx(expected.cycles.tolist())


def test_sublayers_share_the_time_of_a_step(case) -> None:
    setup = case.setup(PROMPT, 2, even=True)
    (run,) = decode_steps(setup)
    cycles = sublayer_cycles(setup, run)
    assert len(cycles) == 2 * case.shape.layers
    executed = setup.workload.executed[:, :, PROMPT]
    for kind, name in enumerate(("attention", "ffn")):
        shown = np.array([cycles[layer, name] for layer in range(case.shape.layers)])
        assert shown[~executed[:, kind]].max(initial=0) < shown[executed[:, kind]].min()
    names = setup.program.operations
    last = max(one.retired for one in run.events if names[one.index].startswith("layers."))
    embedded = max(one.retired for one in run.events if names[one.index] == "embed")
    assert sum(cycles.values()) == last - embedded


def test_each_configuration_has_one_mechanism_more(case) -> None:
    setups = {name: one.setup(PROMPT, 2) for name, one in configurations(case).items()}
    fused = [setup.parameters.fused for setup in setups.values()]
    assert fused == [False, False, False, True, True]
    written = [dealt(setup).directory.slots_used() for setup in setups.values()]
    assert written[0] == written[1] > written[2] == written[3] == written[4]
    assert setups[BASE].workload.executed.all()
    for point in (prefill_point(case, PROMPT), decode_point(case, PROMPT, STEPS)):
        assert point.gain("partial") > 1
        assert point.gain("fused", "reuse") >= 1
        assert point.gain("more", "fused") >= 1


def test_the_attention_section_has_every_length_that_fits(case) -> None:
    section = attention(case, lengths=(16, 500), contexts=(20,), steps=2, layers=4)
    told = [row.what for row in section.rows]
    assert len(told) == 2 * 5
    assert not any("500" in what for what in told)
    assert [row.paper for row in section.rows[:5]] == [None, 1.14, 1.29, 1.40, None]
    assert [row.paper for row in section.rows[5:]] == [None] * 5


def test_delivered_bandwidth_is_that_of_reads(case) -> None:
    found = {}
    for name, one in variants(case).items():
        setup = one.setup(PROMPT, STEPS + 1, even=True)
        found[name] = delivered(setup, decode_steps(setup))
    for name, one in found.items():
        assert 0 < one.physical <= 1, name
        kept = name.startswith("K/V reuse") and name != "K/V reuse, no history buffer"
        assert (one.hits > 0) == kept, name
    peak = case.device.hbm.channel_gb_s * case.config.kv.hbm_ports
    section = kv_bandwidth(case, contexts=(PROMPT,), context=PROMPT, steps=STEPS)
    rate, share = section.rows[:2]
    assert rate.ours == pytest.approx(found["dense"].gb_s)
    assert share.ours == pytest.approx(100 * rate.ours / peak)


def test_the_array_takes_an_entry_of_every_port_where_none_is_reused(case) -> None:
    kv = case.config.kv
    dense, reuse = (taken_by_array(one.setup(PROMPT, 1)) for one in (replace(case, skip=0.0), case))
    assert dense.entries == kv.hbm_ports > reuse.entries
    groups = (kv.buffer_banks + kv.hbm_ports) / case.config.array.kv_vectors
    assert dense.beats == groups >= reuse.beats
    assert dense.empty == kv.buffer_banks / case.config.array.kv_vectors <= reuse.empty


def test_storage_saved_is_the_share_of_attention_skipped(case) -> None:
    section = kv_storage(case, lengths=(50, 100))
    for row, length in zip(section.rows[1:3], (50, 100), strict=True):
        skipped, _ = case.setup(length, 1).workload.skipped
        assert row.ours == pytest.approx(100 * skipped)
    assert section.rows[0].ours == max(row.ours for row in section.rows[1:3])


def test_both_readings_of_the_speed_stand_beside_the_papers(case) -> None:
    section = end_to_end(case, prompt=16, generate=6)
    decode, whole = section.rows[:2]
    result = measure(case.setup(16, 6))
    assert decode.ours == pytest.approx(result.tokens_per_second)
    assert whole.ours == pytest.approx(6 / (result.prefill_seconds + result.decode_seconds))
    assert decode.paper == whole.paper == 143.4
    assert any("87.9" in row.note for row in section.rows if "A100" in row.what)


def test_resources_of_the_total_are_not_all_in_rows() -> None:
    section = resources.table2(PRESETS["u280"])
    (line,) = section.findings
    assert "64,008 LUT, 398,924 FF, 256 DSP, 363 BRAM are in no row" in line
    known = {(row.what, row.unit): row.ours for row in section.rows if row.ours is not None}
    assert known == {("K/V buffer and crossbar", "URAM"): 512}


def test_a_column_has_errors_of_every_variant_and_logic() -> None:
    section = table1(windows=1, window=24, samples=500)
    errors = [row for row in section.rows if row.unit == "%"]
    assert len(errors) == 5 * 5
    exact = next(
        row for row in errors if row.what.startswith("1: 22-bit") and "uniform" in row.what
    )
    assert exact.ours == pytest.approx(0.035, rel=0.1)
    assert {row.unit for row in section.rows} == {"%", "LUT", "FF", "DSP"}


@pytest.mark.parametrize(
    ("value", "quantum", "expected"),
    [(100, 1, [90, 110]), (2, 1, [1, 3]), (1, 1, [2]), (512, 32, [448, 576]), (True, 1, [False])],
)
def test_neighbours_are_a_tenth_away(value, quantum, expected) -> None:
    assert neighbours(value, quantum) == expected


def test_every_free_parameter_has_a_source(case) -> None:
    found = free(case)
    names = [name for name, _, _ in found]
    assert {"ddr_latency_ns", "sequencer.queue", "fused", "device.hbm.timing.refresh_ns"} <= {
        *names
    }
    assert len(names) == len({*names}) > 30
    assert all(source for _, _, source in found)


def test_results_move_with_what_they_depend_on(case) -> None:
    chosen = ("device.core_mhz", "device.hbm.port_mhz", "device.hbm.lateral_share", "ddr_share")
    result = sensitivity(
        case, context=PROMPT, prompt=20, layers=3, only=lambda name: name in chosen
    )
    assert [one.name for one in result.shifts[:2]] == ["workload.skip", "workload.seed"]
    moves = {one.name: [change.moves for change in one.changes] for one in result.shifts}
    assert len(moves["workload.skip"]) == len(moves["workload.seed"]) == 2
    less, more = moves["device.core_mhz"]
    assert less[SPEED] < 0 < more[SPEED]
    less, more = moves["device.hbm.port_mhz"]
    assert less[RATE] < 0
    assert moves["device.hbm.lateral_share"] == [dict.fromkeys(FIGURES, 0.0)] * 2


def test_a_value_that_the_model_refuses_is_said_so(case, monkeypatch) -> None:
    chosen = "device.hbm.dram_mhz"
    monkeypatch.setattr("hwroute.sim.performance.reproduce.free.FIXED", ())
    result = sensitivity(
        case, context=PROMPT, prompt=20, layers=3, only=lambda name: name == chosen
    )
    (shift,) = [one for one in result.shifts if one.name == chosen]
    # No multiple of the port's clock any more.
    assert [change.value for change in shift.changes] == [810, 990]
    assert all(change.moves == {} for change in shift.changes)
    assert "| 810 / 990 | refused / refused |" in report.page([], result, "command")


def test_what_is_asked_for_is_run(case) -> None:
    done: list[int] = []
    result = run(resources.NAME, case, done.append)
    assert [section.name for section in result.sections] == [resources.NAME]
    assert result.sensitivity is None
    assert sum(done) == steps(resources.NAME, case) == 1
    assert {*SECTIONS} < {*NAMES}


def test_text_page_and_json_have_every_row(case) -> None:
    sections = [kv_storage(case, lengths=(50,)), resources.table2(case.config)]
    found = sensitivity(
        case, context=PROMPT, prompt=20, layers=3, only=lambda name: name == "fused"
    )
    text, page = report.text(sections, found), report.page(sections, found, "command")
    record = report.fields(sections, found)
    assert len(record["rows"]) == sum(len(section.rows) for section in sections)
    for section in sections:
        assert section.title in text
        for row in section.rows:
            assert f"| {row.what} | {row.unit} |" in page
    assert "| `fused` | True |" in page
    (switch,) = [one for one in record["sensitivity"]["parameters"] if one["parameter"] == "fused"]
    assert switch["changes"][0]["value"] is False


def test_the_committed_page_has_the_papers_figures_and_a_reason_for_each_difference(
    root: Path,
) -> None:
    record = json.loads((root / "docs/results/reproduce.json").read_text(encoding="utf-8"))
    differing = [row for row in record["rows"] if abs(row["difference"] or 0) > TOLERANCE]
    assert differing
    assert [row["what"] for row in differing if not row["reason"]] == []
    told = {(row["section"], row["what"], row["unit"]): row["paper"] for row in record["rows"]}
    for section in SECTIONS:
        for figure in paper.load_paper().figures(section).values():
            if section != "attention":
                assert told[section, figure.what, figure.unit] == figure.value
        for one in paper.load_paper().resources(section):
            assert told[section, one.part, "LUT"] == one.lut
    assert record["provenance"]["modified"] is False
