"""Faults of the whole machine: what they change in its Verilog, and that a run shows each."""

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from amaranth.lib import wiring

from hwroute import api
from hwroute.compiler import compile_program
from hwroute.config import PRESETS
from hwroute.errors import HwrouteError
from hwroute.models.generate import adjusted_policy
from hwroute.models.image import build_image
from hwroute.models.interpreter import Interpreter, Journal
from hwroute.rtl.axi import DDR_PORT, HBM_PORT, AxiPort
from hwroute.rtl.controller import Controller
from hwroute.rtl.dma import DMA
from hwroute.rtl.emit import emit
from hwroute.rtl.instruction_reader import InstructionReader
from hwroute.rtl.kv_unit import KVUnit
from hwroute.rtl.machine import PREFETCH
from hwroute.rtl.memory_port import stream_layouts
from hwroute.rtl.read_share import ReadShare
from hwroute.rtl.statistics_memory import StatisticsMemory
from hwroute.rtl.tile_router import TileRouter
from hwroute.sim.machine.lockstep import follow
from hwroute.sim.machine.log import read_log
from hwroute.sim.machine.run import run_machine
from hwroute.sim.machine_faults import KINDS, READ_SELECT, SELECT, MachineFault, load_faults, plant

FAULTS = load_faults()
CONFIG = PRESETS["demo"]


def share(port: AxiPort, users: tuple[str, ...]) -> ReadShare:
    return ReadShare(stream_layouts(port, paired=False)[0], users)


UNITS: dict[str, Callable[[], wiring.Component]] = {
    "controller": lambda: Controller(CONFIG),
    "router": lambda: TileRouter(CONFIG),
    "dma": lambda: DMA(CONFIG),
    "kv": lambda: KVUnit(CONFIG),
    "statistics": lambda: StatisticsMemory(CONFIG.memory),
    "instructions": lambda: InstructionReader(2 * PREFETCH),
    "ddr_share": lambda: share(DDR_PORT, ("instructions", "dma", "scales")),
    "hbm_0_share": lambda: share(HBM_PORT, ("weights", "kv")),
}
"""Units that are emitted in a few seconds."""
ALL_UNITS = {*UNITS, "scratchpad", "npe", "array", "scores", "values", "ddr", "hbm"}
MUX = re.compile(r"hwroute_fault::select == (\d+) \? \((.*?)\) : \(([^()]+)\);")
TEXT = """\
/* Generated. */
module top(clk);
  wire [3:0] \\$1 ;
  reg [3:0] first = 4'h0;
  always @(posedge clk)
    first <= \\$1 ;
endmodule
module \\top.low (clk);
  always @(posedge clk)
    \\packed  <= next;
  always @(posedge clk)
    rows[place] <= \\$2 [1:0];
endmodule
"""
FIRST = MachineFault(
    name="first",
    unit="router",
    kind="count",
    module="top",
    register="first",
    value="right != old ? right + 4'd1 : right",
    summary="counts one too many",
)


def fault(**changed: str) -> MachineFault:
    return MachineFault(**{**vars(FIRST), **changed})


def without_faults(verilog: str) -> str:
    """Return planted Verilog as it works while no fault is chosen."""
    verilog = verilog.removeprefix(SELECT).replace(READ_SELECT, "", 1)
    while MUX.search(verilog):
        verilog = MUX.sub(lambda mux: f"{mux[3]};", verilog)
    return verilog


def test_planting_adds_a_multiplexer_for_each_fault_and_nothing_else() -> None:
    faults = [
        FIRST,
        fault(module=r"\.low", register="\\packed ", value="right ^ 4'd1"),
        fault(module=r"\.low", register="rows[place]", value="2'd1"),
    ]
    text = plant(TEXT, faults)
    assert text.startswith("package hwroute_fault;")
    assert "first <= hwroute_fault::select == 1 ? " in text
    assert "(\\$1  != first ? \\$1  + 4'd1 : \\$1 ) : (\\$1 );" in text
    assert "\\packed  <= hwroute_fault::select == 2 ? (next ^ 4'd1) : (next);" in text
    assert "rows[place] <= hwroute_fault::select == 3 ? (2'd1) : (\\$2 [1:0]);" in text
    assert without_faults(text) == TEXT


def test_two_faults_of_one_register_are_one_behind_the_other() -> None:
    text = plant(TEXT, [FIRST, fault(value="right ^ 4'd2")])
    inner = "hwroute_fault::select == 1 ? (\\$1  != first ? \\$1  + 4'd1 : \\$1 ) : (\\$1 )"
    assert f"first <= hwroute_fault::select == 2 ? (\\$1  ^ 4'd2) : ({inner});" in text


@pytest.mark.parametrize(
    "changed", [{"module": "none"}, {"module": ""}, {"register": "second"}, {"register": "firs"}]
)
def test_a_fault_without_its_place_is_an_error(changed: dict[str, str]) -> None:
    with pytest.raises(HwrouteError, match="fault first: "):
        plant(TEXT, [fault(**changed)])


def test_the_table_is_spread_over_units_and_kinds() -> None:
    assert len(FAULTS) >= 30
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)
    kinds = Counter(fault.kind for fault in FAULTS)
    assert set(kinds) == set(KINDS)
    assert {fault.unit for fault in FAULTS} == ALL_UNITS
    assert max(kinds.values()) < len(FAULTS) / 2


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_no_fault_is_a_constant_and_each_leaves_some_values_right(fault: MachineFault) -> None:
    words = set(re.findall(r"\b(?:right|old)\b", fault.value))
    assert "right" in words
    assert fault.summary
    # Either a case in which it is right, or a mask that depends on something else.
    assert re.search(r": right$|\? right :|\bright [&|^] ", fault.value), fault.value


@pytest.mark.parametrize("unit", UNITS)
def test_faults_of_a_unit_have_their_places_in_its_verilog(unit: str) -> None:
    faults = [fault for fault in FAULTS if fault.unit == unit]
    verilog = emit(UNITS[unit](), f"hwroute_machine.{unit}")
    text = plant(verilog, faults)
    assert sorted(set(re.findall(r"select == (\d+)", text)), key=int) == [
        str(number) for number in range(1, len(faults) + 1)
    ]
    assert without_faults(text) == verilog


class Detector:
    """A short run of `tiny` with a fault, compared with the interpreter."""

    def __init__(self, folder: Path):
        tiny = api.load("tiny")
        policy = adjusted_policy(tiny, routing=True, kv=None)
        program = compile_program(tiny.shape, policy, CONFIG, model=tiny.name)
        self.prompt = list(api.encode(tiny, "First "))
        self.folder = folder
        self.golden = Interpreter(program, build_image(program, tiny), journal=Journal())
        self.expected = self.golden.generate(self.prompt, 2).token_ids

    def found_by(self, fault: int) -> str:
        """Return what shows the fault first, "" if nothing does."""
        golden = self.golden
        try:
            got = run_machine(
                golden.program,
                golden.image,
                self.prompt,
                2,
                folder=self.folder,
                max_cycles=90_000,
                timeout=20_000,
                fault=fault,
            )
        except HwrouteError:
            return "assertion"
        if not got.finished:
            return "watchdog"
        if not got.ok:
            return f"error {got.error.name}"
        if got.token_ids != self.expected:
            return "token ids"
        for mine, theirs in (
            (got.ddr.reshape(1, -1), golden.state.ddr.view(np.uint8).reshape(1, -1)),
            (got.hbm.reshape(len(got.hbm), -1), golden.state.hbm.reshape(len(got.hbm), -1)),
        ):
            if not np.array_equal(mine[:, : theirs.shape[1]], theirs):
                return "memories"
        assert golden.state.journal
        assert got.log
        divergence = follow(golden.program, golden.state.journal, read_log(got.log)).divergence
        return "" if divergence is None else f"lock-step: {divergence}"


@pytest.mark.cpp
@pytest.mark.slow
def test_a_short_run_shows_each_fault_and_nothing_without_one(tmp_path: Path) -> None:
    detector = Detector(tmp_path)
    assert detector.found_by(0) == ""
    found = {fault.name: detector.found_by(n) for n, fault in enumerate(FAULTS, 1)}
    assert [name for name, how in found.items() if not how] == []
