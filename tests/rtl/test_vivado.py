"""The Vivado project beside emitted Verilog names what is there, and constrains every clock."""

import re
from pathlib import Path

import pytest

from hwroute.config import PRESETS
from hwroute.rtl.verilog_folder import Target, write
from hwroute.rtl.vivado import clocks_xdc

TARGET = Target(device="a board", part="xc-part", clocks={"clk": 225, "memory_clk": 450})


@pytest.mark.parametrize(
    ("unit", "clocks"), [("hbm-port", ["clk", "memory_clk"]), ("router", ["clk"])]
)
def test_a_project_has_the_files_and_the_clocks_of_its_unit(
    unit: str, clocks: list[str], tmp_path: Path
) -> None:
    emission = write(PRESETS["demo"], tmp_path, [unit], TARGET)
    top = f"hwroute_{unit.replace('-', '_')}"
    script = (tmp_path / f"{top}.tcl").read_text(encoding="utf-8")
    named = re.findall(r"\$folder/(\S+\.(?:v|xdc))", script)
    assert sorted(named) == sorted([f"{top}.v", "hwroute_ram.v", f"{top}.xdc"])
    assert all((tmp_path / name).is_file() for name in named)
    assert set(emission.files) == {
        str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()
    }
    assert f"-part {TARGET.part} " in script
    assert f"set_property top {top} [" in script
    assert script.count("{") == script.count("}")
    constraints = (tmp_path / f"{top}.xdc").read_text(encoding="utf-8")
    assert re.findall(r"get_ports (\w+)\]", constraints) == clocks
    ports = (tmp_path / f"{top}.v").read_text(encoding="utf-8")
    assert all(re.search(rf"^  input {clock};", ports, re.MULTILINE) for clock in clocks)


def test_paths_between_clocks_take_less_than_the_shorter_period() -> None:
    lines = clocks_xdc({"clk": 225, "memory_clk": 450}).splitlines()
    assert lines[1:3] == [
        "create_clock -name clk -period 4.444 [get_ports clk]",
        "create_clock -name memory_clk -period 2.222 [get_ports memory_clk]",
    ]
    assert len(lines) == 5
    assert all(line.endswith(" 2.222") for line in lines[3:])
