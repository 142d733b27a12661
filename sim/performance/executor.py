"""Execute a Program on the model of the machine."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import simpy

from hwroute import memory_timing
from hwroute.errors import InputError
from hwroute.isa.fields import Register
from hwroute.isa.instruction import WORD_BYTES
from hwroute.models.ops.kv import KVMemory
from hwroute.program import Program
from hwroute.sim.device import Device, load_device
from hwroute.sim.performance.ahead import LoosePorts
from hwroute.sim.performance.array_unit import serve_array
from hwroute.sim.performance.dma_unit import serve_dma
from hwroute.sim.performance.fusion import separated_tokens
from hwroute.sim.performance.history import ModelledKV
from hwroute.sim.performance.kv_unit import serve_kv
from hwroute.sim.performance.memory import Memories
from hwroute.sim.performance.parameters import Parameters
from hwroute.sim.performance.parts import Parts
from hwroute.sim.performance.result import Run, Traffic
from hwroute.sim.performance.sequencer import Sequencer, UnitPair
from hwroute.sim.performance.unit_queue import Registers
from hwroute.sim.performance.units import serve_npe, serve_router
from hwroute.sim.performance.workload import Workload


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What is run, and on what.

    Parameters
    ----------
    program, workload
        Instructions and decisions.
    device, parameters
        Memories and clocks; free parameters.

    Raises
    ------
    InputError
        The workload does not fit the Program, or the device has too few ports.
    """

    program: Program
    workload: Workload
    device: Device = field(default_factory=lambda: load_device("u280"))
    parameters: Parameters = field(default_factory=Parameters)

    def __post_init__(self) -> None:
        ports, channels = self.program.config.kv.hbm_ports, self.device.hbm.channels
        if ports > channels:
            raise InputError(
                f"device {self.device.name} must have at least {ports} channels "
                f"(kv.hbm_ports), not {channels}"
            )
        tokens = self.workload.prompt + self.workload.generate
        if tokens > self.program.memory.context:
            raise InputError(
                f"prompt and generated tokens must fit the program's context of "
                f"{self.program.memory.context}, not {tokens}"
            )
        layers = 1 + max(one["layer"] for one in self.program.instructions if "layer" in one.values)
        if len(self.workload.executed) != layers:
            raise InputError(
                f"decisions must be of {layers} layers, not {len(self.workload.executed)}"
            )

    @cached_property
    def tokens(self) -> list[UnitPair]:
        """Units that each instruction waits for, and signals."""
        if not self.parameters.fused:
            return separated_tokens(self.program)
        return [(one.units("wait"), one.units("signal")) for one in self.program.instructions]

    def memories(self) -> Memories:
        """Return the device's memories, idle."""
        kv, free = self.program.config.kv, self.parameters
        return Memories.of_device(self.device, kv.hbm_ports, kv.beat_bits, free)

    def kv_memory(self) -> KVMemory:
        """Return directory and history buffer of a new sequence."""
        layers = len(self.workload.executed)
        return ModelledKV(self.program.config.kv, self.parameters.mechanisms, layers)


class Machine:
    """One run of the model.

    Parameters
    ----------
    setup
        What is run.
    memories
        Instead of the device's.
    kv
        Directory and history buffer to begin with, instead of empty ones.
    """

    def __init__(
        self, setup: Setup, *, memories: Memories | None = None, kv: KVMemory | None = None
    ):
        program, free = setup.program, setup.parameters
        self.setup = setup
        self.env = simpy.Environment()
        self.memories = memories or setup.memories()
        if free.mechanisms.run_ahead:
            self.memories.hbm = LoosePorts(self.memories.hbm.count, duplex=self.memories.hbm.duplex)
        self.registers = Registers(program.tile)
        traffic = self.traffic = Traffic()
        self.sequencer = Sequencer(
            self.env,
            free.sequencer,
            program,
            self.registers,
            tokens=setup.tokens,
            memory_cycles=self.memories.ddr_arrival(0) + memory_timing.INSTRUCTION_READ_CYCLES,
            words=lambda count: traffic.add("program", count * WORD_BYTES),
        )
        self.parts = Parts(
            self.env,
            program.config,
            self.memories,
            self.sequencer,
            self.registers,
            setup.workload,
            kv or setup.kv_memory(),
            traffic,
            free=free,
        )
        self.sequencer.decided = self.parts.ahead.decided
        for serve in (serve_dma, serve_array, serve_npe, serve_router, serve_kv):
            self.env.process(serve(self.parts))

    def run(self) -> Run:
        """Run the whole Program."""
        values, workload = self.registers.values, self.setup.workload
        values[Register.PROMPT] = workload.prompt
        values[Register.GENERATE] = workload.generate
        # No token is the one that stops, for the model knows none.
        values[Register.STOP] = 1
        return self._run(0, None)

    def prefill(self) -> Run:
        """Run up to the first token of the answer."""
        values, workload = self.registers.values, self.setup.workload
        values[Register.PROMPT], values[Register.GENERATE] = workload.prompt, workload.generate + 1
        values[Register.STOP] = 1
        return self._run(0, 0)

    def step(self, position: int) -> Run:
        """Run one token of the answer, whose position it is, from idle units."""
        program = self.setup.program
        values = self.registers.values
        values[Register.POSITION], values[Register.STOP], values[Register.T1] = position, 1, 2
        self.parts.map(next(one for one in program.instructions if one.name == "kv.map"))
        return self._run(program.labels["next"], 1)

    def _run(self, first: int, passes: int | None) -> Run:
        start = float(self.env.now)
        ends: Any = self.env.process(self.sequencer.run(first, passes))
        self.env.run(ends)
        return Run(
            start=start,
            end=float(self.env.now),
            events=self.sequencer.events,
            traffic=self.traffic,
            marks=self.sequencer.marks,
            port_busy=self.memories.hbm.busy.tolist(),
            reads=self.parts.reads,
            attentions=self.parts.attentions,
            hbm_moves=self.memories.hbm.moves.all(),
            ddr_moves=self.memories.ddr.moves.all(),
        )
