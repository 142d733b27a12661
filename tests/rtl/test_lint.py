"""Every unit's Verilog at full size passes Verilator's lint but for what `lint.vlt` waives."""

from collections.abc import Callable
from pathlib import Path

import pytest

from hwroute.config import PRESETS
from hwroute.rtl.emit import emit
from hwroute.rtl.units import UNITS, module_name
from hwroute.sim.machine.harness import MACHINE

Lint = Callable[[str, str, Path], list[str]]
MachineText = Callable[[str], str]


@pytest.mark.slow
@pytest.mark.parametrize("unit", [unit for unit in UNITS if unit != "machine"])
def test_every_unit_at_full_size_is_free_of_complaints(
    unit: str, lint: Lint, tmp_path: Path
) -> None:
    top = module_name(unit)
    assert lint(emit(UNITS[unit](PRESETS["u280"]), top), top, tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize("config", ["demo", "u280"])
def test_the_machine_is_free_of_complaints(
    config: str, lint: Lint, machine_text: MachineText, tmp_path: Path
) -> None:
    assert lint(machine_text(config), MACHINE, tmp_path) == []


@pytest.mark.parametrize(
    ("body", "rule"),
    [
        ("reg r; always @* if (a) r = b; assign y = r;", "LATCH"),
        ("wire w; assign w = ~(w & a) | b; assign y = w;", "UNOPTFLAT"),
        ("reg r; always @(posedge a) r <= b; always @(posedge b) r <= a; assign y = r;", "MULTI"),
        ("wire [-1:0] w = {a, b}; assign y = |w;", "ASCRANGE"),
        ("wire w; assign y = w ^ a ^ b;", "UNDRIVEN"),
        ("hwroute_ram r (); assign y = a ^ b;", "PINMISSING"),
    ],
)
def test_what_is_not_waived_is_seen(body: str, rule: str, lint: Lint, tmp_path: Path) -> None:
    verilog = f"module top(input a, input b, output y); {body} endmodule\n"
    assert any(rule in line for line in lint(verilog, "top", tmp_path))


def test_what_is_waived_is_not_seen(lint: Lint, tmp_path: Path) -> None:
    verilog = "module top(input a, input [1:0] b, output [2:0] y); assign y = b + a; endmodule\n"
    assert lint(verilog, "top", tmp_path) == []
