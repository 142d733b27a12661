"""Faults of the whole machine: what they change in its Verilog, and that a run shows each."""

import re
from collections import Counter
from collections.abc import Callable

import pytest
from amaranth.lib import wiring

from hwroute.config import PRESETS
from hwroute.errors import HwrouteError
from hwroute.rtl.controller import Controller
from hwroute.rtl.dma import DMA
from hwroute.rtl.emit import emit
from hwroute.rtl.kv_unit import KVUnit
from hwroute.rtl.statistics_memory import StatisticsMemory
from hwroute.rtl.tile_router import TileRouter
from hwroute.sim.machine_faults import KINDS, READ_SELECT, SELECT, MachineFault, load_faults, plant

FAULTS = load_faults()
CONFIG = PRESETS["demo"]
UNITS: dict[str, Callable[[], wiring.Component]] = {
    "controller": lambda: Controller(CONFIG),
    "router": lambda: TileRouter(CONFIG),
    "dma": lambda: DMA(CONFIG),
    "kv": lambda: KVUnit(CONFIG),
    "statistics": lambda: StatisticsMemory(CONFIG.memory),
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
