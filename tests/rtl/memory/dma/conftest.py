"""A bench of the DMA unit among models of DDR, scratchpad and router."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Module, ResetInserter
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hwroute import timing
from hwroute.config import PRESETS, Config
from hwroute.isa.fields import LINE_BYTES, PLANES, Register
from hwroute.isa.instruction import Instruction
from hwroute.models.image import Image
from hwroute.models.interpreter import moves
from hwroute.models.interpreter.state import MachineError, State
from hwroute.rtl.axi import DDR_PORT
from hwroute.rtl.dma import DMA
from hwroute.rtl.issue_layouts import DONE, ISSUED
from hwroute.rtl.memory_port import MemoryPort
from hwroute.rtl.row_list_layouts import ROW, ROW_REQUEST, RowListPort
from hwroute.rtl.scratchpad_layouts import ReadPort, WritePort
from hwroute.sim.axi_model import AxiMemory, MemoryTiming

DEMO = PRESETS["demo"]
CONFIG: Config = replace(
    DEMO, memory=replace(DEMO.memory, ddr_bytes=64 << 10, scratchpad_bytes=32 << 10)
)
TILE = CONFIG.array.accumulator_rows
DDR_LINES = CONFIG.memory.ddr_bytes // LINE_BYTES
IDS, VOCABULARY = 8, 40
"""Line of the ids of position 0, and how many rows every table has."""
SCRATCHPAD_LATENCY = 3


class DMASystem(wiring.Component):
    """The unit and its port to DDR; ``forget`` resets the unit, but not the transactions."""

    def __init__(self) -> None:
        super().__init__(
            {
                "issue": In(stream.Signature(ISSUED)),
                "done": Out(stream.Signature(DONE)),
                "rows": Out(RowListPort()),
                "load": Out(WritePort()),
                "store": Out(ReadPort()),
                "axi": Out(DDR_PORT.signature()),
                "forget": In(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        unit: Any = DMA(CONFIG)
        port: Any = MemoryPort(DDR_PORT, beats=CONFIG.memory.ddr_bytes // DDR_PORT.data_bytes)
        m.submodules.unit = ResetInserter(self.forget)(unit)
        m.submodules.port = port
        connect(m, flipped(self.issue), unit.issue)
        for name in ("done", "rows", "load", "store"):
            connect(m, getattr(unit, name), flipped(getattr(self, name)))
        for name in ("read", "write", "data"):
            connect(m, getattr(unit, name), getattr(port, name))
        connect(m, port.beats, unit.beats)
        connect(m, port.answer, unit.answer)
        connect(m, port.axi, flipped(self.axi))
        m.d.comb += port.clear.eq(self.forget)
        return m


@dataclass(frozen=True)
class Issue:
    """An instruction and the registers that it is issued with."""

    one: Instruction
    position: int = 0
    rows: int = 1
    value: int = 0


def golden_state(seed: int) -> State:
    """Return memories of random bits, ids below `VOCABULARY`, and planes: 1 is empty, 2 is full."""
    rng = np.random.default_rng(seed)
    ddr = rng.integers(0, 256, (DDR_LINES, LINE_BYTES), np.uint8)
    ddr[IDS : IDS + 4] = rng.integers(0, VOCABULARY, (4, 32), np.uint32).view(np.uint8)
    state = State(
        CONFIG, Image(hbm=np.zeros((1, 1, 32), np.uint8), ddr=ddr, program="", model=""), TILE
    )
    state.scratchpad[:] = rng.integers(0, 1 << 16, state.scratchpad.shape, np.uint16)
    state.planes[:] = rng.random(state.planes.shape) < 0.5
    state.planes[:3] = np.array([[1], [0], [1]])
    return state


class Golden:
    """The golden state, and the golden unit that changes it."""

    def __init__(self, seed: int = 5):
        self.state = golden_state(seed)

    def execute(self, issue: Issue) -> bool:
        """Run an instruction; tell whether it failed."""
        registers = self.state.registers
        registers[Register.POSITION], registers[Register.ROWS] = issue.position, issue.rows
        registers[Register.T0] = issue.value
        one = issue.one
        try:
            # What `Interpreter` sees to for every unit.
            if not one["plane"] or len(self.state.selected(one["plane"])):
                getattr(moves.DMA(self.state), one.name)(one)
        except MachineError:
            return True
        return False


class DMABench:
    """The unit among models of DDR, scratchpad and router, and the golden state beside it."""

    def __init__(self, bench: Any, packed: Any, *, stall: float = 0.0, **options: Any):
        self.packed = packed
        self.unit: Any = DMASystem()
        self.bench = bench(self.unit, stall=stall, seed=3, forget=self.unit.forget)
        golden = Golden()
        self.golden, self.execute = golden.state, golden.execute
        self.scratchpad = self.golden.scratchpad.copy()
        self.planes = self.golden.planes.copy()
        self.content = bytearray(self.golden.ddr.tobytes())
        self.memory = AxiMemory(
            self.unit.axi,
            DDR_PORT,
            self.content,
            timing=MemoryTiming(latency=options.get("latency", 1), stall=stall, seed=7),
            bad=options.get("bad", range(0)),
        )
        self.random = Random(11)
        self.write_stall = options.get("write_stall", stall)
        self.written: list[int] = []
        self.bench.serve(self.memory)
        self.bench.simulator.add_testbench(self.write_lines, background=True)
        lines, rows = self.unit.store, self.unit.rows
        self.bench.respond(
            lines.request, lines.response, self.read_line, latency=SCRATCHPAD_LATENCY
        )
        self.bench.respond(rows.request, rows.rows, self.list_rows, latency=timing.ROW_LIST_CYCLES)

    async def write_lines(self, context: Any) -> None:
        """Serve the scratchpad's write port."""
        port, cycle = self.unit.load.request, 0
        while True:
            ready = self.random.random() >= self.write_stall
            context.set(port.ready, ready)
            _, _, valid, payload = await context.tick().sample(port.valid, port.payload.as_value())
            cycle += 1
            if valid and ready:
                layout = port.payload.shape()
                line = payload & ((1 << layout["line"].width) - 1)
                assert payload >> layout["mask"].offset == (1 << 64) - 1
                octets = (payload >> layout["data"].offset).to_bytes(140, "little")[:LINE_BYTES]
                self.scratchpad[line] = np.frombuffer(octets, np.uint16)
                self.written.append(cycle)

    def read_line(self, request: int) -> list[int]:
        """Return the line of the scratchpad that is asked for, as it is now."""
        return [int.from_bytes(self.scratchpad[request].tobytes(), "little")]

    def list_rows(self, request: int) -> list[int]:
        """Return the rows of the plane that is asked for."""
        plane, count = request % PLANES, request >> ROW_REQUEST["rows"].offset
        held = np.flatnonzero(self.planes[plane, :count] | (plane == 0)).tolist()
        rows = [self.packed(ROW, row=row, last=row == held[-1]) for row in held]
        return rows or [self.packed(ROW, last=1, empty=1)]

    def issue(self, issues: list[Issue], *, again: bool = False) -> list[int]:
        """Issue instructions, each with its place in the list as index."""
        payloads = [
            self.packed(
                ISSUED,
                word=issue.one.encode(),
                index=index,
                position=issue.position,
                rows=issue.rows,
                value=issue.value,
            )
            for index, issue in enumerate(issues)
        ]
        cycles: list[int] = self.bench.feed(self.unit.issue, payloads, again=again)
        return cycles

    def expect(self, issues: list[Issue]) -> list[int]:
        """Run instructions on the golden model; return the payloads of their ends."""
        return [
            self.packed(DONE, error=self.execute(issue), index=index)
            for index, issue in enumerate(issues)
        ]

    def run(self, issues: list[Issue], *, again: bool = False) -> tuple[list[int], list[int]]:
        """Run instructions and compare their ends; return the cycles of issue and of end."""
        issued = self.issue(issues, again=again)
        ends, ended = self.bench.drain(self.unit.done, len(issues))
        self.bench.run()
        assert ends == self.expect(issues)
        return issued, ended

    def compare(self) -> None:
        """Compare both memories with the golden ones."""
        assert np.array_equal(self.scratchpad, self.golden.scratchpad)
        assert self.content == self.golden.ddr.tobytes()


@pytest.fixture
def system(bench: Any, packed: Any) -> Callable[..., DMABench]:
    """Return a function that makes a bench; options: stall, write_stall, latency, bad."""
    return lambda **options: DMABench(bench, packed, **options)


def issued(name: str, *, position: int = 0, rows: int = 1, value: int = 0, **fields: int) -> Issue:
    """Return an instruction of its fields and registers; ``value`` is in the one that it names."""
    if name != "gather":
        fields[{"put": "value"}.get(name, "index")] = Register.T0
    return Issue(Instruction(name, fields), position, rows, value)


def drawn(random: Random) -> Issue:
    """Return a legal instruction; stores and puts spare neither ids nor tables."""
    name = random.choice(["load", "store", "gather", "put"])
    position, rows = random.randrange(100), random.randint(1, TILE)
    if name == "put":
        value = random.randrange(VOCABULARY)
        return issued(name, position=position, value=value, ids=IDS)
    lines, plane = random.randint(1, 6), random.randrange(8)
    matrix = "from" if name == "store" else "to"
    fields = {matrix: random.randrange(100), f"{matrix}_pitch": random.randint(0, 9)}
    if name == "gather":
        table = random.randrange(12, 200)
        fields |= {"table": table, "ids": IDS, "vocabulary": VOCABULARY}
    else:
        fields |= {
            "address": random.randrange(12, 200),
            "stride": random.randint(0, 6),
            "per_row": random.randint(0, 1),
        }
    value = random.randrange(30)
    fields |= {"lines": lines, "plane": plane}
    return issued(name, position=position, rows=rows, value=value, **fields)


@pytest.fixture(scope="session")
def issue() -> Callable[..., Issue]:
    return issued


@pytest.fixture(scope="session")
def draw() -> Callable[[Random], Issue]:
    return drawn


@pytest.fixture
def golden() -> Golden:
    return Golden()
