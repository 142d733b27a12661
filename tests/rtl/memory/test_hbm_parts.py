"""HBM ports as parts: one module in Verilog, placed for each port, and right in Verilator."""

from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from amaranth.hdl import ClockDomain, ClockSignal, Module, ResetSignal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, connect, flipped

from hwroute.config import PRESETS, Config
from hwroute.paths import build_dir
from hwroute.rtl.axi import HBM_PORT
from hwroute.rtl.emit import emit
from hwroute.rtl.hbm_port import HBMPort
from hwroute.rtl.memory_port import memory_members
from hwroute.rtl.part import Part
from hwroute.sim.units import UnitSimulation
from hwroute.sim.verilog_memory import VerilogMemory

PORTS = 2
BYTES = 1 << 15
SIZE = HBM_PORT.data_bytes
DEMO = PRESETS["demo"]
CONFIG: Config = replace(
    DEMO,
    kv=replace(DEMO.kv, beat_bits=512),
    memory=replace(DEMO.memory, hbm_port_bytes=BYTES),
)


class Ports(wiring.Component):
    """Ports and their memories, all with one clock."""

    def __init__(self) -> None:
        self.memories: list[Any] = [
            VerilogMemory(HBM_PORT, beats=BYTES // SIZE, name=f"hbm_{n}") for n in range(PORTS)
        ]
        streams = memory_members(HBM_PORT, paired=True)
        del streams["axi"]
        super().__init__(
            {f"{name}_{n}": member for name, member in streams.items() for n in range(PORTS)}
            | {"latency": In(16)}
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.domains.memory = ClockDomain()
        m.d.comb += [ClockSignal("memory").eq(ClockSignal())]
        m.d.comb += [ResetSignal("memory").eq(ResetSignal())]
        port = HBMPort(CONFIG)
        for number, memory in enumerate(self.memories):
            part: Any = Part("hwroute_hbm_port", port)
            m.submodules[f"port_{number}"] = part
            m.submodules[f"memory_{number}"] = memory
            connect(m, part.axi, memory.axi)
            m.d.comb += memory.latency.eq(self.latency)
            for name in ("read", "write", "data"):
                connect(m, flipped(getattr(self, f"{name}_{number}")), getattr(part, name))
            for name in ("beats", "answer"):
                connect(m, getattr(part, name), flipped(getattr(self, f"{name}_{number}")))
        return m


def test_the_port_is_emitted_once() -> None:
    text = emit(Ports(), "ports")
    assert text.count("\nmodule hwroute_hbm_port(") == 1
    assert text.count("  hwroute_hbm_port ") == PORTS


@pytest.mark.cpp
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_every_port_reads_and_writes_its_own_memory(tmp_path: Path, stall: float) -> None:
    unit = Ports()
    inputs: dict[str, Any] = {}
    expect: dict[str, int] = {}
    contents = [np.frombuffer(Random(n).randbytes(BYTES), np.uint8) for n in range(PORTS)]
    data = [np.frombuffer(Random(9 + n).randbytes(64 * SIZE), np.uint8) for n in range(PORTS)]
    for number, memory in enumerate(unit.memories):
        memory.fill(tmp_path, contents[number])
        inputs[f"read_{number}"] = {"first": np.array([5, 100]), "count": np.array([40, 63])}
        inputs[f"write_{number}"] = {"first": np.array([600]), "count": np.array([64])}
        inputs[f"data_{number}"] = {
            "data": data[number].view(np.uint64).reshape(32, 8),
            "strobe": np.full(32, (1 << 64) - 1, np.uint64),
            "half": np.zeros(32, np.int64),
        }
        expect |= {f"beats_{number}": 20 + 32, f"answer_{number}": 1}
    run = UnitSimulation(unit, folder=build_dir()).run(
        inputs, expect, folder=tmp_path, settings={"latency": 30}, stall=stall, seed=4
    )
    for number, memory in enumerate(unit.memories):
        found = np.ascontiguousarray(run.outputs[f"beats_{number}"]["data"]).view(np.uint8)
        rows = contents[number].reshape(-1, SIZE)
        wanted = np.concatenate([rows[5:45], rows[100:163], np.zeros((1, SIZE), np.uint8)])
        assert np.array_equal(found.reshape(-1, SIZE), wanted)
        image = rows.copy()
        image[600:664] = data[number].reshape(-1, SIZE)
        assert np.array_equal(memory.dump(tmp_path), image.reshape(-1))
