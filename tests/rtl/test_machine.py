# amaranth: UnusedElaboratable=no
"""The machine's Verilog: every part is connected, and it is twice the same text."""

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
file, top, config = sys.argv[1:]
Path(file).write_text(emit(Machine(PRESETS[config]), top), encoding="utf-8")
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
    """Return the Verilog of two emissions."""
    folder = tmp_path_factory.mktemp("machine")
    return emitted(["demo", "demo"], folder)


def emitted(configs: list[str], folder: Path) -> list[str]:
    """Emit machines side by side, in processes whose sets have other orders."""
    files = [folder / f"{seed}.v" for seed in range(len(configs))]
    running = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", EMIT, str(file), TOP, config],
            env=os.environ | {"PYTHONHASHSEED": str(seed)},
        )
        for seed, (file, config) in enumerate(zip(files, configs, strict=True), 1)
    ]
    assert [process.wait() for process in running] == [0] * len(configs)
    return [file.read_text(encoding="utf-8") for file in files]


@pytest.mark.slow
def test_two_emissions_are_the_same(texts: list[str]) -> None:
    assert texts[0] == texts[1]
    assert str(Path.cwd()) not in texts[0]


@pytest.mark.slow
def test_an_emission_at_full_size_is_the_same(
    machine_text: Callable[[str], str], tmp_path: Path
) -> None:
    assert emitted(["u280"], tmp_path) == [machine_text("u280")]


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
