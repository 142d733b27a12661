"""The NPE of the machine between its memories, and the interpreter beside it."""

from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out, connect, flipped

from hwroute.config import PRESETS, Config
from hwroute.isa.fields import LINE_ELEMENTS, Register
from hwroute.isa.instruction import Instruction
from hwroute.models.interpreter import npe as interpreter
from hwroute.models.interpreter.state import State
from hwroute.paths import build_dir
from hwroute.rtl.issue_layouts import DONE, ISSUED
from hwroute.rtl.npe_unit import NPEUnit
from hwroute.rtl.row_lister import RowLister
from hwroute.rtl.scratchpad import Scratchpad
from hwroute.rtl.scratchpad_layouts import LINE, READ, WRITE
from hwroute.rtl.statistics_layouts import STATISTIC, VECTOR
from hwroute.rtl.statistics_memory import StatisticsMemory
from hwroute.sim.units import Run, UnitSimulation

TOKENS = 64


class Machine(wiring.Component):
    """NPE, scratchpad, statistics and planes, filled before a run and read after it.

    Instructions wait until ``fills`` lines and words are written, reads until as many instructions
    have ended as ``instructions`` says.
    """

    def __init__(self, config: Config):
        self.config = config
        self.tile, self.planes = config.array.accumulator_rows, config.memory.planes
        super().__init__(
            {
                "issue": In(stream.Signature(ISSUED)),
                "done": Out(stream.Signature(DONE)),
                "tokens": Out(stream.Signature(32)),
                "fill": In(stream.Signature(WRITE)),
                "words": In(stream.Signature(VECTOR)),
                "values": In(stream.Signature(32)),
                "read": In(stream.Signature(READ)),
                "line": Out(stream.Signature(LINE)),
                "read_words": In(stream.Signature(VECTOR)),
                "word": Out(stream.Signature(STATISTIC)),
                "fills": In(32),
                "instructions": In(32),
                "plane_bits": In(data.ArrayLayout(self.tile, self.planes)),
                "saturated": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        memory = self.config.memory
        m.submodules.npe = npe = NPEUnit(self.config)
        m.submodules.lists = lists = RowLister(tile=self.tile, planes=self.planes)
        names = {"readers": ("x", "y", "z", "bench"), "writers": ("npe", "bench")}
        m.submodules.lines = lines = Scratchpad(memory, **names)
        names = {"readers": ("npe", "bench"), "writers": ("npe", "bench")}
        m.submodules.sums = sums = StatisticsMemory(memory, **names)
        scratchpad: Any = lines
        statistics: Any = sums
        for name in ("x", "y", "z"):
            connect(m, getattr(npe, name), getattr(lines, f"read_{name}"))
        connect(m, npe.write, scratchpad.write_npe)
        connect(m, npe.statistics, statistics.read_npe)
        connect(m, npe.statistics_write, statistics.write_npe)
        connect(m, npe.rows, lists.port)
        connect(m, npe.done, flipped(self.done))
        connect(m, flipped(self.fill), scratchpad.write_bench.request)
        connect(m, flipped(self.words), statistics.write_bench.request)
        connect(m, flipped(self.values), statistics.write_bench.values)
        connect(m, scratchpad.read_bench.response, flipped(self.line))
        connect(m, statistics.read_bench.response, flipped(self.word))
        # The bits of the bench's own ports, the last of each, are not the NPE's.
        own = [scratchpad.read_errors[:-1], scratchpad.write_errors[0]]
        own += [statistics.read_errors[0], statistics.write_errors[0]]
        m.submodules.tokens = tokens = SyncFIFOBuffered(width=32, depth=TOKENS)
        filled, ended = Signal(32), Signal(32)
        m.d.comb += [
            lists.planes.eq(self.plane_bits),
            npe.memory_error.eq(sum(Mux(one.any(), 1, 0) for one in own) != 0),
            tokens.w_en.eq(npe.token_valid),
            tokens.w_data.eq(npe.token),
            self.tokens.valid.eq(tokens.r_rdy),
            self.tokens.payload.eq(tokens.r_data),
            tokens.r_en.eq(self.tokens.ready),
        ]
        m.d.sync += [
            self.saturated.eq(self.saturated | npe.saturated),
            ended.eq(ended + (self.done.valid & self.done.ready)),
            filled.eq(
                filled
                + (self.fill.valid & self.fill.ready)
                + (self.values.valid & self.values.ready)
            ),
        ]
        _gate(m, self.issue, npe.issue, filled == self.fills)
        _gate(m, self.read, scratchpad.read_bench.request, ended == self.instructions)
        _gate(m, self.read_words, statistics.read_bench.request, ended == self.instructions)
        return m


def _gate(m: Module, source: Any, sink: Any, is_open: Any) -> None:
    m.d.comb += [
        sink.payload.eq(source.payload),
        sink.valid.eq(source.valid & is_open),
        source.ready.eq(sink.ready & is_open),
    ]


@dataclass(frozen=True, kw_only=True)
class Issue:
    """An instruction, the rows of its tile, and whether it fails."""

    one: Instruction
    rows: int
    fails: bool = False


class NPEBench:
    """A built machine whose memories are compared with the interpreter's after a run."""

    issue = Issue

    def __init__(self, config: Config):
        self.config = config
        self.simulation = UnitSimulation(Machine(config), folder=build_dir())

    def state(self, lines: Any, words: Any, planes: Any) -> State:
        """Return the interpreter's state: lines [n, 64] and words [n] uint, planes [n, tile]."""
        image: Any = SimpleNamespace(
            hbm=np.zeros((1, 1, 32), np.uint8), ddr=np.zeros((1, 128), np.uint8)
        )
        state = State(self.config, image, planes.shape[1])
        state.scratchpad[:], state.statistics[:] = lines, words
        for plane, bits in enumerate(planes[1:], 1):
            state.write_plane(plane, bits)
        return state

    def check(self, folder: Path, state: State, program: list[Issue], stall: float = 0.0) -> Run:
        """Run instructions in hardware and on `state`; compare answers and memories.

        An instruction that fails is not run on `state`, and only the answers are compared then.
        """
        lines, words = state.scratchpad.copy(), state.statistics.copy()
        planes = np.zeros((self.config.memory.planes, state.planes.shape[1]), bool)
        planes[:] = state.planes[: len(planes)]
        run = self._simulate(folder, (lines, words, planes), program, stall)
        tokens = self._execute(state, program)
        done = run.outputs["done"]
        assert done["error"].tolist() == [issue.fails for issue in program]
        assert np.array_equal(done["index"], np.arange(len(program)))
        assert run.outputs["tokens"].tolist() == tokens
        if not any(issue.fails for issue in program):
            assert run.results["saturated"] == state.overflowed
            where = np.argwhere(run.outputs["line"] != state.scratchpad)
            assert not len(where), where[:5]
            where = np.argwhere(run.outputs["word"]["value"] != state.statistics)
            assert not len(where), where[:5]
        return run

    def _execute(self, state: State, program: list[Issue]) -> list[int]:
        """Run what does not fail on the interpreter; return the tokens."""
        golden, tokens = interpreter.NPE(state), []
        for issue in program:
            if issue.fails:
                continue
            one = issue.one
            state.registers[Register.ROWS] = issue.rows
            # As the interpreter does: an instruction whose plane is empty does nothing.
            if one["plane"] and not len(state.selected(one["plane"])):
                continue
            getattr(golden, one.name)(one)
            if one.name == "argmax" and one["last"]:
                tokens.append(state.registers[Register.TOKEN])
        return tokens

    def _simulate(
        self, folder: Path, memories: tuple[Any, Any, Any], program: list[Issue], stall: float
    ) -> Run:
        lines, words, planes = memories
        encoded = b"".join(issue.one.encode().to_bytes(32, "little") for issue in program)
        count, indices = len(program), np.arange(len(lines))
        whole = {"first": np.zeros(1, int), "pitch": np.ones(1, int), "values": [len(words)]}
        bits = int.from_bytes(np.packbits(planes, bitorder="little").tobytes(), "little")
        tokens = sum(
            issue.one.name == "argmax"
            and bool(issue.one["last"])
            and not issue.fails
            and bool(not issue.one["plane"] or planes[issue.one["plane"], : issue.rows].any())
            for issue in program
        )
        return self.simulation.run(
            {
                "issue": {
                    "word": np.frombuffer(encoded, "<u8").reshape(-1, 4),
                    "index": np.arange(count),
                    "position": np.zeros(count, int),
                    "rows": np.array([issue.rows for issue in program]),
                    "value": np.zeros(count, int),
                },
                "fill": {
                    "line": indices,
                    "data": lines.astype(np.int64),
                    "mask": np.full(len(lines), (1 << LINE_ELEMENTS) - 1, np.uint64),
                },
                "words": whole,
                "values": words.astype(np.int64),
                "read": {"line": indices},
                "read_words": whole,
            },
            {"done": count, "tokens": tokens, "line": len(lines), "word": len(words)},
            folder=folder,
            settings={
                "fills": len(lines) + len(words),
                "instructions": count,
                "plane_bits": bits,
            },
            stall=stall,
            seed=6,
        )


@pytest.fixture(scope="session")
def npe() -> NPEBench:
    return NPEBench(replace(PRESETS["demo"], name="npe-unit"))
