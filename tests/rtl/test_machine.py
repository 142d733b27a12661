# amaranth: UnusedElaboratable=no
"""The machine's Verilog: every part is connected, nothing is complained of, twice the same text."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from amaranth.hdl import Fragment

from hwroute.config import PRESETS
from hwroute.rtl.axi import DDR_PORT, HBM_PORT
from hwroute.rtl.machine import Machine
from hwroute.rtl.part import collect_parts

TOP = "hwroute_machine"
EMIT = """
import sys
from pathlib import Path
from hwroute.config import PRESETS
from hwroute.rtl.emit import emit
from hwroute.rtl.machine import Machine
Path(sys.argv[1]).write_text(emit(Machine(PRESETS["demo"]), sys.argv[2]), encoding="utf-8")
"""
ALWAYS = {
    "b__payload": 0,
    "r__payload.response": 0,
    "done__ready": 1,
    "answer__ready": 1,
    "words__ready": 1,
    "response__ready": 1,
    "logits__response__ready": 1,
}
"""Nets of the top module that are constant: registers answer OKAY, and who is always ready."""


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return the Verilog of two emissions: processes whose sets have other orders."""
    folder = tmp_path_factory.mktemp("machine")
    seeds = ("1", "2")
    files = [folder / f"{seed}.v" for seed in seeds]
    running = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", EMIT, str(file), TOP],
            env=os.environ | {"PYTHONHASHSEED": seed},
        )
        for seed, file in zip(seeds, files, strict=True)
    ]
    assert [process.wait() for process in running] == [0, 0]
    return [file.read_text(encoding="utf-8") for file in files]


@pytest.mark.slow
def test_two_emissions_are_the_same(texts: list[str]) -> None:
    assert texts[0] == texts[1]
    assert str(Path.cwd()) not in texts[0]


@pytest.mark.slow
def test_verilator_does_not_complain(
    texts: list[str], lint: Callable[[str, str, Path], list[str]], tmp_path: Path
) -> None:
    assert lint(texts[0], TOP, tmp_path) == []


@pytest.mark.slow
def test_every_port_of_every_part_is_driven(texts: list[str]) -> None:
    """What nobody drives is a constant, as its initial value."""
    top = re.search(rf"^module {TOP}\(.*?^endmodule", texts[0], re.MULTILINE | re.DOTALL)
    assert top
    constants = re.findall(
        r"^  assign \\?(\S+?)(?:\$\d+)?(\.\S+)? += \d+'h([0-9a-f]+);", top[0], re.MULTILINE
    )
    assert len(constants) > len(ALWAYS)
    for name, field, value in constants:
        net = re.sub(r"_(dma|array|npe|router|kv|\d+)__", "__", name + field)
        assert ALWAYS.get(net.removeprefix("read__")) == int(value, 16), name + field
    tied = re.findall(r"^    \.(\w+)\(\d+'", top[0], re.MULTILINE)
    assert set(tied) <= {*ALWAYS}, "no port is tied to a constant"


def test_ports_are_those_of_registers_and_memories() -> None:
    machine = Machine(PRESETS["demo"])
    members = machine.signature.members
    assert {*members} == {
        "aw",
        "w",
        "b",
        "ar",
        "r",
        "irq",
        "ddr",
        "hbm_0",
        "hbm_1",
        "hbm_2",
        "hbm_3",
    }
    assert members["ddr"].signature == DDR_PORT.signature()
    assert members["hbm_3"].signature == HBM_PORT.signature()
    # Amaranth complains of what is made and never elaborated.
    with collect_parts() as parts:
        Fragment.get(machine, None)
        for part in [*parts.values()]:
            Fragment.get(part, None)


def test_another_argument_is_refused() -> None:
    with pytest.raises(TypeError, match="Sizes must be a Config, not 'demo'"):
        Machine("demo")  # type: ignore[arg-type]
