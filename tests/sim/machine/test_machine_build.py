"""The machine is emitted and built once for all that it depends on; a bad one is reported."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hwroute.config import PRESETS
from hwroute.errors import HwrouteError
from hwroute.sim.machine import build as module
from hwroute.sim.machine.build import build_machine, emitted_machine
from hwroute.sim.machine.harness import MACHINE

CONFIG = PRESETS["demo"]


def test_a_machine_is_emitted_once_for_its_configuration(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    emitted: list[Any] = []

    def emit(machine: Any, name: str) -> str:
        emitted.append(machine)
        return f"module {name} {machine}"

    monkeypatch.setattr(module, "Machine", lambda config: config.memory.planes)
    monkeypatch.setattr(module, "emit", emit)
    other = replace(CONFIG, memory=replace(CONFIG.memory, planes=CONFIG.memory.planes - 1))
    texts = [emitted_machine(config, tmp_path) for config in (CONFIG, other, CONFIG, other)]
    assert texts == 2 * [f"module {MACHINE} {planes}" for planes in emitted]
    assert len(set(emitted)) == len(emitted) == 2


@pytest.mark.cpp
def test_what_verilator_refuses_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    texts = iter(("module hwroute_machine(input clk); endmodule", "nonsense"))
    monkeypatch.setattr(module, "emitted_machine", lambda *_: next(texts))
    for reason in ("Can't find definition", "syntax error"):
        with pytest.raises(HwrouteError, match=rf"failed: %Error.*{reason}.*build\.log"):
            build_machine(CONFIG, folder=tmp_path)
