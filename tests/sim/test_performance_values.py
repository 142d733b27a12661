"""The model of values beside the RTL of `hwroute.rtl.values`, with the same batches."""

# amaranth: UnusedElaboratable=no

import importlib.util
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hwroute import timing
from hwroute.rtl import softmax
from hwroute.rtl.exp2 import Probability
from hwroute.sim.performance import costs
from hwroute.sim.performance.array_unit import values_end
from hwroute.sim.performance.batches import HIT, SOME, Batch, Batches, groups_of
from hwroute.sim.performance.hbm_rates import FixedHbm
from hwroute.sim.performance.memory import Memories
from hwroute.sim.performance.reader import Reader
from hwroute.sim.performance.sweeps import Sweep, sweeps_of

BENCH = Path(__file__).parents[1] / "rtl" / "values" / "conftest.py"


@pytest.fixture(scope="module")
def rtl() -> Any:
    """Return the bench of the unit's own tests: sources that bring a line a cycle."""
    spec = importlib.util.spec_from_file_location("values_bench", BENCH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put lanes in as they are: Amaranth's simulator knows no parts."""
    monkeypatch.setattr(softmax, "probability", Probability)


def batches_of(bench: Any) -> list[Batches]:
    """Return what the unit was sent, sweep by sweep."""
    sent = bench.stacked("batches")
    valid = np.asarray(sent["sources"]["valid"])
    cuts, batches = [], []
    for index, last in enumerate(sent["last"]):
        sources = np.flatnonzero(valid[index])
        if len(sources):
            kinds = np.where(sources < bench.config.kv.buffer_banks, HIT, SOME)
            groups = groups_of(sources, bench.config.array.kv_vectors)
            batches.append(Batch(sources=sources, kinds=kinds, groups=groups))
        if last:
            counts = np.zeros((3, bench.sources), np.int64)
            cuts.append(Batches(batches=batches, counts=counts))
            batches = []
    return cuts


class Lines(Reader):
    """Sources as the bench has them: a line a cycle, whoever brings it."""

    @property
    def line_period(self) -> float:
        return 1

    def bank_beats(self, sweep: Sweep) -> float:
        return sweep.lines


def modelled(bench: Any, rows: int) -> float:
    """Return the end of the bench's instruction from its issue."""
    config, one = bench.config, bench.issued[0][0]
    # The bench gives a line a cycle, `latency` cycles after it was asked for.
    own = FixedHbm(latency=0).read_cycles + timing.KV_REQUEST_CYCLES + timing.KV_LINE_CYCLES
    hbm = FixedHbm(latency=bench.latency - own, beat_cycles=0.25)
    memories = Memories(config.kv.hbm_ports, hbm, ddr_latency=1, ddr_beat_cycles=1.0)
    reader = Lines(
        config=config,
        memories=memories,
        vector=4 * bench.vector_lines,
        exponents=1,
        fifo_bytes=32768,
    )
    cuts = iter(batches_of(bench))
    parts: Any = SimpleNamespace(config=config, reader=reader, batches=lambda _: next(cuts))
    sweeps = sweeps_of(one, rows, config)
    counted = costs.heads_counted(one, bench.vector_lines)
    start = timing.attention_front_cycles(rows, counted)
    return values_end(parts, one, start, sweeps, [False] * len(sweeps))


DECODE = {"heads": 4, "queries": 2, "own": 1, "pitch": 1, "maximum": 3, "sum": 30}
CASES = {
    "decode": (64, 130, 130, 1, DECODE | {"head_lines": 2}),
    "few entries": (64, 30, 130, 1, DECODE),
    "prefill": (64, 30, 30, 8, {"heads": 2, "queries": 2}),
    "chunks": (16, 11, 20, 3, {"heads": 3, "queries": 3, "first": 3, "head_lines": 2}),
    "one head": (16, 11, 20, 1, {"own": 1}),
}


@pytest.mark.parametrize("case", CASES)
def test_values_take_what_the_rtl_takes(rtl, case) -> None:
    """From issue to end, within 3 per cent."""
    accumulator_rows, tokens, position, rows, fields = CASES[case]
    config = rtl.small(accumulator_rows=accumulator_rows)
    bench = rtl.Bench(config, seed=4, tokens=np.arange(tokens), position=position)
    bench.add(rows, **fields)
    bench.run()
    measured = bench.ends["done"].cycles[0] - bench.ends["issue"].cycles[0]
    assert modelled(bench, rows) == pytest.approx(measured, rel=0.03)
