"""DMA, scratchpad, row lists and DDR port together, in Verilator, against the golden model."""

from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hwroute.config import Config
from hwroute.isa.fields import PLANES, WORD_BITS
from hwroute.paths import build_dir
from hwroute.rtl.axi import DDR_PORT
from hwroute.rtl.dma import DMA
from hwroute.rtl.issue_layouts import DONE, ISSUED
from hwroute.rtl.memory_port import MemoryPort
from hwroute.rtl.row_lister import RowLister
from hwroute.rtl.scratchpad import Scratchpad
from hwroute.sim.units import UnitSimulation
from hwroute.sim.verilog_memory import SETTINGS, VerilogMemory


class MemorySide(wiring.Component):
    """Issued instructions in, their ends out."""

    def __init__(self, config: Config):
        self.config = config
        self.tile = config.array.accumulator_rows
        self.beats = config.memory.ddr_bytes // DDR_PORT.data_bytes
        self.memory: Any = VerilogMemory(DDR_PORT, beats=self.beats)
        super().__init__(
            {
                "issue": In(stream.Signature(ISSUED)),
                "done": Out(stream.Signature(DONE)),
                "planes": In(data.ArrayLayout(self.tile, PLANES)),
                "outside": Out(1),
                **{f"memory_{name}": In(bits) for name, bits in SETTINGS.items()},
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.unit = unit = DMA(self.config)
        m.submodules.lister = lister = RowLister(tile=self.tile, planes=PLANES)
        m.submodules.port = port = MemoryPort(DDR_PORT, beats=self.beats)
        m.submodules.memory = memory = self.memory
        m.submodules.scratchpad = scratchpad = Scratchpad(
            self.config.memory, readers=("dma",), writers=("dma",)
        )
        connect(m, flipped(self.issue), unit.issue)
        connect(m, unit.done, flipped(self.done))
        connect(m, unit.rows, lister.port)
        connect(m, unit.load, scratchpad.write_dma)
        connect(m, unit.store, scratchpad.read_dma)
        for name in ("read", "write", "data"):
            connect(m, getattr(unit, name), getattr(port, name))
        connect(m, port.beats, unit.beats)
        connect(m, port.answer, unit.answer)
        connect(m, port.axi, memory.axi)
        m.d.comb += lister.planes.eq(self.planes)
        m.d.comb += [getattr(memory, each).eq(getattr(self, f"memory_{each}")) for each in SETTINGS]
        with m.If(scratchpad.read_errors.any() | scratchpad.write_errors.any()):
            m.d.sync += self.outside.eq(1)
        return m


@pytest.mark.cpp
@pytest.mark.parametrize(("latency", "stall"), [(1, 0.0), (60, 0.0), (25, 0.5)])
def test_a_long_run_leaves_the_golden_memories(
    golden: Any, issue: Any, draw: Any, tmp_path: Path, latency: int, stall: float
) -> None:
    random = Random(latency)
    lines = len(golden.state.scratchpad)
    issues = [
        # What the scratchpad holds at the start is not known: all of it is loaded, and then stored.
        issue("load", to=0, address=len(golden.state.ddr) - lines, lines=lines),
        *(draw(random) for _ in range(400)),
        issue("store", **{"from": 0}, address=len(golden.state.ddr) - lines, lines=lines),
    ]
    unit = MemorySide(golden.state.config)
    unit.memory.fill(tmp_path, golden.state.ddr.view(np.uint8))
    words = b"".join(each.one.encode().to_bytes(WORD_BITS // 8, "little") for each in issues)
    payloads = {
        "word": np.frombuffer(words, np.uint64).reshape(len(issues), -1),
        "index": np.arange(len(issues)),
        **{
            name: np.array([getattr(each, name) for each in issues])
            for name in ("position", "rows", "value")
        },
    }
    bits = golden.state.planes.reshape(-1).astype(int)
    settings = {"latency": latency, "stall": round(stall * 256), "seed": 5}
    run = UnitSimulation(unit, folder=build_dir()).run(
        {"issue": payloads},
        {"done": len(issues)},
        folder=tmp_path,
        settings={
            "planes": sum(int(bit) << place for place, bit in enumerate(bits)),
            **{f"memory_{name}": value for name, value in settings.items()},
        },
        stall=stall,
        seed=9,
    )
    assert not any(golden.execute(each) for each in issues)
    assert run.outputs["done"]["index"].tolist() == list(range(len(issues)))
    assert not run.outputs["done"]["error"].any()
    assert not run.results["outside"]
    assert np.array_equal(unit.memory.dump(tmp_path), golden.state.ddr.view(np.uint8).reshape(-1))
