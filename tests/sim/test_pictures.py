"""Pictures of the performance model: they hold what the run recorded, and always the same bytes."""

from collections import Counter, defaultdict
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.image import imread
from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import Trace, TrackEvent

from hwroute import api
from hwroute.config import PRESETS
from hwroute.errors import InputError
from hwroute.isa.fields import QUEUED, Unit
from hwroute.policy_terms import KVRule
from hwroute.sim.performance.busy import stretches
from hwroute.sim.performance.generation import Performance
from hwroute.sim.performance.pictures import draw, front, pareto
from hwroute.sim.performance.pictures.bandwidth import BUFFER, DDR, HBM, KINDS, peaks, phases_of
from hwroute.sim.performance.pictures.breakdown import shares
from hwroute.sim.performance.pictures.buffer import draw_buffer
from hwroute.sim.performance.pictures.buffer import shares as hit_shares
from hwroute.sim.performance.pictures.perfetto_trace import lanes, write_trace
from hwroute.sim.performance.pictures.roofline import DECODE, PREFILL, Roofs, points
from hwroute.sim.performance.pictures.style import UNIT_NAMES
from hwroute.sim.performance.pictures.timeline import draw_timeline, layer_window
from hwroute.sim.performance.pictures.work import (
    IDLE,
    SCORES,
    VALUES,
    WAITING,
    cycles_by_work,
)
from hwroute.sim.performance.result import DDR_KINDS, HBM_KINDS, Run, covered

CONFIG = PRESETS["demo"]
PICTURES = ("roofline", "time", "bandwidth", "timeline", "skips", "buffer")
TRACES = ("prefill.pftrace", "decode.pftrace")


@pytest.fixture(scope="module")
def result() -> Performance:
    return api.perf("tiny", prefill=70, decode=6, config=CONFIG, skip=0.3)


@pytest.fixture(scope="module")
def drawn(result, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pictures") / "new"
    paths = draw(result, folder)
    files = {f"{name}{suffix}" for name in PICTURES for suffix in (".png", ".svg")}
    assert {path.name for path in paths} == files | {*TRACES}
    return folder


@pytest.fixture(params=["prefill", "decode"])
def run(request, result) -> Run:
    return result.prefill if request.param == "prefill" else result.steps[max(result.steps)]


@pytest.mark.parametrize("name", PICTURES)
def test_each_picture_is_a_png_and_an_svg(drawn, name) -> None:
    height, width, _ = imread(drawn / f"{name}.png").shape
    assert width > 800
    assert height > 400
    assert ElementTree.parse(drawn / f"{name}.svg").getroot().tag.endswith("svg")


def test_the_same_result_gives_the_same_bytes(drawn, result, tmp_path) -> None:
    for path in draw(result, tmp_path):
        assert path.read_bytes() == (drawn / path.name).read_bytes(), path.name


@pytest.mark.parametrize(
    "options",
    [
        {"skip": 0.0, "prefill": 9, "decode": 2},
        {"skip": 0.95, "prefill": 1, "decode": 3},
        {"kv": KVRule.EVICT, "fused": False, "prefill": 3, "decode": 1},
    ],
)
def test_any_result_can_be_drawn(options, tmp_path) -> None:
    """None skips, nearly all skip, no decode and entries evicted: no picture warns or fails."""
    names = {path.name for path in draw(api.perf("tiny", config=CONFIG, **options), tmp_path)}
    assert ("buffer.png" in names) == ("decode.pftrace" in names) == (options["decode"] > 1)


def test_without_decode_its_pictures_are_left_away(result, tmp_path) -> None:
    prompt = replace(result, steps={})
    assert draw_buffer(prompt, tmp_path) == draw_timeline(prompt, tmp_path) == []
    assert not any(tmp_path.iterdir())


def test_a_folder_that_is_a_file_is_refused(result, tmp_path) -> None:
    place = tmp_path / "file"
    place.write_text("")
    with pytest.raises(InputError, match=f"folder {place} must be writable"):
        draw(result, place)
    with pytest.raises(InputError, match=r"timeline .* must be writable"):
        write_trace(result.setup.program, result.prefill, result.hertz, place / "x.pftrace")


def test_stretches_of_a_unit_are_apart_and_its_busy_time(run) -> None:
    busy = run.busy()
    for unit, parts in stretches(run).items():
        assert sum(part.end - part.start for part in parts) == pytest.approx(busy[unit])
        reached = run.start
        for part in parts:
            assert reached <= part.start < part.end
            assert part.event.issued <= part.start
            reached = part.end


def test_every_cycle_of_a_unit_is_counted_once(result, run) -> None:
    busy = run.busy()
    for unit, sums in cycles_by_work(result.setup.program, run).items():
        assert all(cycles >= 0 for cycles in sums.values())
        assert sum(sums.values()) == pytest.approx(run.cycles)
        worked = sum(sums.values()) - sums[WAITING] - sums[IDLE]
        assert worked == pytest.approx(busy[unit])
        # What it waits while it works on something else is no time lost.
        spans = [(one.issued, one.retired) for one in run.events if one.unit is unit]
        waits = [(one.handed + 1, one.issued) for one in run.events if one.unit is unit]
        assert sums[WAITING] <= covered(spans + waits) - covered(spans) + 1e-6


def test_shares_of_a_unit_add_up_to_all_the_time(result) -> None:
    found = shares(result.setup.program, list(result.steps.values()))
    sums: Counter[str] = Counter()
    for (unit, _), share in found.items():
        sums[unit] += share
    assert len(sums) == len(QUEUED)
    assert all(total == pytest.approx(1) for total in sums.values())


def test_points_lie_below_the_roofs_and_hold_all_products(result) -> None:
    found, roofs = points(result), Roofs.of(result)
    array = CONFIG.array.columns * 64 * result.hertz
    assert (roofs.int4, roofs.fp16) == (array, array / 2)
    assert roofs.peak == pytest.approx(result.setup.device.hbm.channel_gb_s * 4e9)
    assert roofs.stream < roofs.peak
    for (_, work), point in found.items():
        flat = roofs.fp16 if work in (SCORES, VALUES) else roofs.int4
        assert 0 < point.rate <= min(flat, roofs.peak * point.intensity)
    for phase, runs in ((PREFILL, [result.prefill]), (DECODE, list(result.steps.values()))):
        total = sum(event.products for one in runs for event in one.events)
        assert sum(point.products for (when, _), point in found.items() if when == phase) == total


def test_rates_of_a_memory_are_its_bytes_over_the_time(result) -> None:
    limits = peaks(result)
    assert limits[HBM] == pytest.approx(57.6)
    assert limits[DDR] == pytest.approx(14.4)
    for phase in phases_of(result):
        seconds = phase.seconds * 1e9
        assert phase.used(HBM, limits) * limits[HBM] * seconds == pytest.approx(phase.traffic.hbm)
        assert phase.used(DDR, limits) * limits[DDR] * seconds == pytest.approx(phase.traffic.ddr)


def test_every_kind_of_bytes_has_a_row() -> None:
    for memory, kinds in ((HBM, HBM_KINDS), (DDR, DDR_KINDS), (BUFFER, ("kv_hits",))):
        assert {kind for kind, (where, _) in KINDS.items() if where == memory} == {*kinds}


def test_hits_are_those_of_the_layers_that_execute(result) -> None:
    found = hit_shares(result)
    executed = result.setup.workload.executed[:, 0]
    for column, position in enumerate(result.steps):
        assert (~np.isnan(found[:, column]) == executed[:, position]).all()
    assert np.nanmax(found) > 0
    assert (found[0] == 0).all()


def test_the_window_holds_a_layer(result) -> None:
    run = result.steps[max(result.steps)]
    layer, (start, end) = layer_window(result, run)
    operations = result.setup.program.operations
    mine = [
        event
        for event in run.events
        if operations[event.index].startswith(f"layers.{layer}.") and event.unit is Unit.ARRAY
    ]
    assert {operations[event.index].split(".")[2] for event in mine} == {"attention", "ffn"}
    assert all(start <= event.issued and event.retired <= end for event in mine)


def parse(path: Path) -> tuple[dict[str, list], dict[str, list]]:
    """Return slices (issued, retired, name) by track name, and counter values (ns, value)."""
    trace = Trace.FromString(path.read_bytes())
    names, slices, counters = {}, defaultdict(list), defaultdict(list)
    open_: dict[int, TrackEvent] = {}
    for packet in trace.packet:
        if packet.HasField("track_descriptor"):
            names[packet.track_descriptor.uuid] = packet.track_descriptor.name
            continue
        event, track = packet.track_event, packet.track_event.track_uuid
        if event.type == event.TYPE_SLICE_BEGIN:
            assert track not in open_, "slices of a track must not overlap"
            open_[track] = event
        elif event.type == event.TYPE_SLICE_END:
            begin = open_.pop(track)
            notes = {note.name: note.int_value for note in begin.debug_annotations}
            cycles = notes["issued, cycle"], notes["retired, cycle"]
            slices[names[track]].append((*cycles, begin.name))
        else:
            counters[names[track]].append((packet.timestamp, event.double_counter_value))
    assert not open_
    return slices, counters


def test_the_trace_holds_every_instruction(drawn, result, run) -> None:
    name = "prefill" if run is result.prefill else "decode"
    slices, counters = parse(drawn / f"{name}.pftrace")
    assert list(slices) == [one for one in UNIT_NAMES.values() if one in slices]
    assert list(counters) == ["HBM ports busy", "DDR port busy"]
    classes: Counter[str] = Counter()
    for parts in slices.values():
        for issued, retired, instruction in parts:
            classes[instruction] += retired - issued
    assert classes == {one: cycles for one, (_, cycles) in run.classes().items()}
    busy = sorted(covered([part[:2] for part in parts]) for parts in slices.values())
    assert busy == sorted(run.busy().values())
    levels = counters["HBM ports busy"]
    area = sum(value * (after - time) for (time, value), (after, _) in pairwise(levels))
    # Times are rounded to ns.
    assert area * result.hertz / 1e9 == pytest.approx(sum(run.port_busy), rel=0.02)


def test_instructions_that_overlap_get_lanes_of_their_own(run) -> None:
    found = lanes([event for event in run.events if event.unit is Unit.ARRAY])
    assert len(found) > 1
    assert sum(map(len, found)) == sum(event.unit is Unit.ARRAY for event in run.events)


def test_the_front_is_what_no_point_beats() -> None:
    assert front([(1, 5), (2, 4), (2, 7), (3, 7), (0.5, 1), (1, 5)]) == [4, 0, 2]
    rng = np.random.default_rng(1)
    found = [tuple(point) for point in rng.integers(0, 20, (200, 2)).tolist()]
    beaten = [
        any(other != one and other[0] <= one[0] and other[1] >= one[1] for other in found)
        for one in found
    ]
    best = front(found)
    assert {found[index] for index in best} == {
        one for one, lost in zip(found, beaten, strict=True) if not lost
    }
    assert len({found[index] for index in best}) == len(best)


ROWS = [
    {"skip": 0.0, "kv": "reuse", "seed": 1, "tokens_per_second": 100.0},
    {"skip": 0.2, "kv": "reuse", "seed": 1, "tokens_per_second": 120.0},
    {"skip": 0.2, "kv": "dense", "seed": 1, "tokens_per_second": 110.0},
    {"skip": 0.4, "kv": "dense", "seed": 1, "error": "no such model"},
]


def test_pareto_draws_the_points_that_have_figures(tmp_path) -> None:
    paths = pareto(ROWS, tmp_path, options=("skip", "kv", "seed"), cost="skip")
    assert [path.name for path in paths] == ["pareto.png", "pareto.svg"]
    first = [path.read_bytes() for path in paths]
    paths = pareto(ROWS[:3], tmp_path, options=("skip", "kv", "seed"), cost="skip")
    assert [path.read_bytes() for path in paths] == first


def test_pareto_names_a_column_that_is_missing(tmp_path) -> None:
    with pytest.raises(InputError, match=r"figures in skpi and .*; did you mean 'skip'"):
        pareto(ROWS, tmp_path, options=("skip",), cost="skpi")
    with pytest.raises(InputError, match="did you mean 'tokens_per_second'"):
        pareto(ROWS, tmp_path, options=("skip",), cost="skip", gain="token_per_second")
