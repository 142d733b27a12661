"""The cocotb side of a `StreamHarness`: clock, reset, settings, and a watchdog.

Payloads move inside the simulator; this wakes up once, when all of them have arrived.
"""

import json
import os
from pathlib import Path
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, First, RisingEdge, Timer

CLOCK_PS = 2


@cocotb.test()
async def run_streams(dut: Any) -> None:
    """Run until every sink has what it expects; fail after ``max_cycles``."""
    job = json.loads(os.environ["HWROUTE_JOB"])
    for name, value in job["settings"].items():
        getattr(dut, name).value = value
    dut.stall_in.value = job["stall_in"]
    dut.stall_out.value = job["stall_out"]
    dut.seed.value = job["seed"]
    dut.rst.value = 1
    Clock(dut.clk, CLOCK_PS, unit="ps", impl="gpi").start()
    await ClockCycles(dut.clk, 4)
    dut.rst.value = 0
    watchdog = Timer(CLOCK_PS * job["max_cycles"], unit="ps")
    finished = RisingEdge(dut.done)
    if not int(dut.done.value) and await First(finished, watchdog) is watchdog:
        raise TimeoutError(f"the unit was not done after {job['max_cycles']} cycles")
    # Let the harness see a payload too many, if there is one.
    await ClockCycles(dut.clk, job["drain_cycles"])
    results = {name: int(getattr(dut, name).value) for name in job["results"]}
    with Path(os.environ["HWROUTE_RESULT"]).open("w", encoding="utf-8") as output:
        json.dump({"cycles": int(dut.cycle.value), "results": results}, output)
