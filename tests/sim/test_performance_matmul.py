"""The model of matmul beside the RTL of `hwroute.rtl.matmul`, on the same memories."""

# amaranth: UnusedElaboratable=no

import importlib.util
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import simpy

from hwroute import memory_timing, timing
from hwroute.isa.fields import Unit
from hwroute.models.ops.kv import KVMemory
from hwroute.sequencer_config import SequencerConfig
from hwroute.sim.performance.array_unit import serve_array
from hwroute.sim.performance.hbm_rates import FixedHbm
from hwroute.sim.performance.memory import Memories
from hwroute.sim.performance.parameters import Parameters
from hwroute.sim.performance.parts import Parts
from hwroute.sim.performance.result import Event, Traffic
from hwroute.sim.performance.unit_queue import Item, Registers, UnitQueue

BENCH = Path(__file__).parents[1] / "rtl" / "matmul" / "conftest.py"


@pytest.fixture(scope="module")
def rtl() -> Any:
    """Return the bench of the unit's own tests: memories of a constant latency."""
    spec = importlib.util.spec_from_file_location("matmul_bench", BENCH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def modelled(config: Any, issued: list, latency: int) -> list[float]:
    """Return the ends of instructions that are issued at once, from the first's issue."""
    env, ends = simpy.Environment(), []
    queue = UnitQueue(env, SequencerConfig(queue=len(issued)), Unit.ARRAY)

    def retire(_: Item) -> None:
        ends.append(env.now)
        queue.retire()

    sequencer = SimpleNamespace(queues={Unit.ARRAY: queue}, retire=retire)
    # The bench answers `latency` cycles after a request, without the ports' own.
    hbm = FixedHbm(latency=latency - FixedHbm(latency=0).read_cycles)
    ddr = latency - memory_timing.DDR_READ_CYCLES
    memories = Memories(config.kv.hbm_ports, hbm, ddr_latency=ddr, ddr_beat_cycles=1.0)
    registers = Registers(config.array.accumulator_rows)
    parts = Parts(
        env,
        config,
        memories,
        sequencer,
        registers,
        None,
        KVMemory(config.kv),
        Traffic(),
        free=Parameters(),
    )
    for one, rows in issued:
        # Offered in the first cycle.
        handed = -float(timing.UNIT_QUEUE_CYCLES)
        queue.hand(Item(one, Event(0, one.name, Unit.ARRAY, 0, rows, handed), (), ()))
    env.process(serve_array(parts))
    env.run()
    return ends


CASES = {
    "one row": (1, {"columns": 128, "lines": 8}),
    "two rows": (2, {"columns": 64, "lines": 4, "x_pitch": 4, "out_pitch": 4}),
    "five rows": (5, {"columns": 64, "lines": 8, "x_pitch": 8, "out_pitch": 1}),
    "six rows": (6, {"columns": 32, "lines": 8, "x_pitch": 8, "out_pitch": 1}),
    "a tile": (16, {"columns": 32, "lines": 4, "x_pitch": 8, "out_pitch": 1}),
    "one block": (1, {"columns": 16, "lines": 6}),
    "few columns": (1, {"columns": 7, "lines": 2}),
}
COUNT = 3


@pytest.mark.parametrize("case", CASES)
def test_matmul_takes_what_the_rtl_takes(rtl, case) -> None:
    """From the first's issue to each end, and from end to end: within 3 per cent."""
    rows, fields = CASES[case]
    bench = rtl.Bench(rtl.config_of(16, 4), seed=60, latency=20)
    for index in range(COUNT):
        bench.add(rows, x=8 * index, out=300 + 8 * index, weights=256 * index, **fields)
    bench.run()
    measured = np.array(bench.ends["done"].cycles) - bench.ends["issue"].cycles[0]
    expected = np.array(modelled(bench.config, bench.issued, latency=20))
    np.testing.assert_allclose(expected, measured, rtol=0.03)
    np.testing.assert_allclose(np.diff(expected), np.diff(measured), rtol=0.03)
