# amaranth: UnusedElaboratable=no
"""The values unit joined to the real array: what it does is what it did with the model of it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hwroute.config import Config
from hwroute.paths import build_dir
from hwroute.rtl.array import PEArray
from hwroute.rtl.column_ports import ColumnShape
from hwroute.rtl.values import ValuesControl
from hwroute.sim.units import UnitSimulation
from tests.rtl.attention_bench import outputs_of_array

ASKED = {
    "x": ("read_x", "request", "response"),
    "y": ("read_y", "request", "response"),
    "statistics": ("statistics", "request", "response"),
    "rows": ("list", "request", "rows"),
}
"""Ports with requests and answers: name here, port of the unit, its streams."""
STREAMS = {
    "write": ("write", "request"),
    "vector": ("statistics_write", "request"),
    "word": ("statistics_write", "values"),
}
IN_ARRAY = ("x", "kv", "o")


class Joined(wiring.Component):
    """The values unit with the array behind it, every other stream a port of its own.

    Answers wait for the requests that they belong to.
    """

    def __init__(self, config: Config):
        self.config = config
        self.unit: Any = ValuesControl(config)
        members: dict[str, Any] = {}
        self.direct = []
        for name, member in self.unit.signature.members.items():
            if name in IN_ARRAY or name == "memory_error":
                continue
            if member.is_port or isinstance(member.signature, stream.Signature):
                members[name] = member
                self.direct.append(name)
        for name, (port, part) in STREAMS.items():
            members[name] = self.unit.signature.members[port].signature.members[part]
        for name, (port, request, response) in ASKED.items():
            inner = self.unit.signature.members[port].signature.members
            members[f"ask_{name}"] = Out(inner[request].signature)
            members[f"read_{name}"] = In(inner[response].signature)
        super().__init__(members)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.unit = unit = self.unit
        m.submodules.array = array = PEArray(self.config)
        connect(m, unit.x, array.x)
        connect(m, unit.kv, array.kv)
        connect(m, array.o, unit.o)
        for name in self.direct:
            member = self.signature.members[name]
            port, mine = getattr(unit, name), getattr(self, name)
            if member.is_port:
                m.d.comb += port.eq(mine)
            else:
                self._join(m, mine, port, inward=member.flow is In)
        for name, (port, part) in STREAMS.items():
            inward = self.signature.members[name].flow is In
            self._join(m, getattr(self, name), getattr(getattr(unit, port), part), inward=inward)
        for name, (port, request, response) in ASKED.items():
            answer = getattr(getattr(unit, port), response)
            self._answer(m, name, getattr(getattr(unit, port), request), answer)
        return m

    def _answer(self, m: Module, name: str, request: Any, answer: Any) -> None:
        """Let answers through when there is a request that still waits for its last."""
        ask, read = getattr(self, f"ask_{name}"), getattr(self, f"read_{name}")
        waiting, last = Signal(8, name=f"{name}_waiting"), Signal(name=f"{name}_last")
        self._join(m, ask, request, inward=False)
        ends = answer.payload.last if name in ("statistics", "rows") else 1
        m.d.comb += [
            answer.valid.eq(read.valid & waiting.any()),
            answer.payload.eq(read.payload),
            read.ready.eq(answer.ready & waiting.any()),
            last.eq(answer.valid & answer.ready & ends),
        ]
        m.d.sync += waiting.eq(waiting + (ask.valid & ask.ready) - last)

    def _join(self, m: Module, mine: Any, port: Any, *, inward: bool) -> None:
        if inward:
            connect(m, flipped(mine), port)
        else:
            connect(m, port, flipped(mine))


@pytest.mark.cpp
def test_the_array_makes_the_same_of_beats_and_tiles(
    bench: Any, config_of: Any, tmp_path: Path
) -> None:
    """The real array, fed with what the unit sent to its model, sends what the model sent."""
    unit = bench(config_of(), seed=20, tokens=np.arange(30))
    unit.add(1, heads=4, queries=2, own=1, pitch=2)
    unit.add(3, heads=1, queries=2, first=1, head_lines=2, pitch=8)
    unit.run()
    sent, expected = outputs_of_array(unit, tmp_path)
    np.testing.assert_array_equal(sent["slot"], expected["slot"])
    size = ColumnShape.of(unit.config).fp16_columns
    np.testing.assert_array_equal(sent["columns"][:, :size], expected["columns"][:, :size])


@pytest.mark.cpp
@pytest.mark.slow
@pytest.mark.parametrize("stall", [0.0, 0.3])
def test_unit_and_array_together(bench: Any, config_of: Any, stall: float, tmp_path: Path) -> None:
    """Decode and prefill, in passes of several lines and in chunks of a line's units."""
    config = config_of(accumulator_rows=32)
    unit = bench(config, seed=21, tokens=np.random.default_rng(21).permutation(40))
    unit.add(1, heads=4, queries=2, head_lines=1, own=1, pitch=2)
    unit.add(3, heads=2, queries=2, head_lines=2, pitch=8, maximum=100)
    unit.add(2, heads=2, queries=4, first=3, own=1, pitch=8, maximum=200)
    unit.run()
    joined = Joined(config)
    simulation = UnitSimulation(joined, folder=build_dir())
    streams = {
        name: member.flow for name, member in joined.signature.members.items() if not member.is_port
    }
    inputs = {name: unit.stacked(name) for name, flow in streams.items() if flow is In}
    outputs = {name: unit.stacked(name) for name, flow in streams.items() if flow is not In}
    run = simulation.run(
        inputs,
        {name: len(unit.ends[name].payloads) for name in outputs},
        folder=tmp_path,
        settings={"entries": len(unit.kv.tokens), "vector_lines": unit.vector_lines},
        stall=stall,
    )
    for name, expected in outputs.items():
        if name == "write":
            written = run.outputs[name]
            kept = _masked(written), _masked(expected)
            np.testing.assert_array_equal(written["line"], expected["line"])
            np.testing.assert_array_equal(*kept)
        else:
            np.testing.assert_equal(run.outputs[name], expected, err_msg=name)


def _masked(write: Any) -> Any:
    """Return the elements that are written, others as zeros."""
    lanes = np.arange(64, dtype=np.uint64)
    chosen = write["mask"].astype(np.uint64)[:, None] >> lanes & 1
    return np.where(chosen == 1, write["data"], 0)
