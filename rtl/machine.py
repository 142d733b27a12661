"""The machine: from a host's registers to the ports of HBM and DDR."""

from collections.abc import Mapping
from typing import Any

from amaranth.hdl import Cat, ClockDomain, ClockSignal, DomainRenamer, Module, ResetSignal, Signal
from amaranth.lib import wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import Out, connect, flipped

from hwroute.config import Config
from hwroute.isa.fields import BEAT_BYTES
from hwroute.rtl.array_unit import ArrayUnit
from hwroute.rtl.axi import DDR_PORT, HBM_PORT
from hwroute.rtl.controller import Controller
from hwroute.rtl.dma import DMA
from hwroute.rtl.hbm_port import HBMPort
from hwroute.rtl.instruction_reader import InstructionReader
from hwroute.rtl.kv_unit import KVUnit
from hwroute.rtl.memory_port import MemoryPort, stream_layouts
from hwroute.rtl.npe_unit import NPEUnit
from hwroute.rtl.part import Part
from hwroute.rtl.read_share import ReadShare
from hwroute.rtl.scratchpad import Scratchpad
from hwroute.rtl.statistics_memory import StatisticsMemory
from hwroute.rtl.tile_router import TOKEN_EVENTS, TileRouter
from hwroute.sequencer_config import SequencerConfig

HOST = ("aw", "w", "b", "ar", "r")
"""Streams of the controller that the host sees."""
UNITS = ("dma", "array", "npe", "router", "kv")
"""Those that run instructions."""
PREFETCH = 32
"""Instructions that are asked for ahead by default: DDR is far away."""
LINKS: Mapping[str, Mapping[str, str]] = {
    "scratchpad.read": {
        "dma": "dma.store",
        "array_x": "array.read_x",
        "array_y": "array.read_y",
        "npe_x": "npe.x",
        "npe_y": "npe.y",
        "npe_z": "npe.z",
        "kv_k": "kv.read_k",
        "kv_v": "kv.read_v",
    },
    "scratchpad.write": {"dma": "dma.load", "array": "array.write", "npe": "npe.write"},
    "statistics.read": {
        "npe": "npe.statistics",
        "array": "array.statistics",
        "router": "router.logits",
    },
    "statistics.write": {"npe": "npe.statistics_write", "array": "array.statistics_write"},
    "router.list": {
        "dma": "dma.rows",
        "array": "array.list",
        "npe": "npe.rows",
        "kv": "kv.rows",
    },
}
"""Ports of the memories (``read_dma``, ...) and of the router, and the member of a unit behind
each."""
WATCHERS = ("array", "npe", "kv")
"""Units whose instructions fail for an error bit; the others look at their addresses themselves."""


class Machine(wiring.Component):
    """Run programs that lie in DDR, for a host (`docs/machine.md`).

    A reset of ``sync``, for `hwroute.rtl.hbm_port.RESET_CYCLES`, may come at any time: what the
    memories were asked for runs to its end and is forgotten. A reset of ``memory`` resets the
    memories too, DDR among them; it must last as long, and lie within one of ``sync``.

    Parameters
    ----------
    config
        Of the overlay.
    sequencer
        Sizes of the sequencer.

    Members
    -------
    aw, w, b, ar, r, irq
        Control registers, `hwroute.rtl.csr.ControlRegisters`.
    ddr
        AXI port of DDR, in ``sync``.
    hbm_0, hbm_1, ...
        AXI ports of HBM, in ``memory``.

    Raises
    ------
    InputError
        The configuration has no room for something, as the units say.
    """

    DOMAINS = ("memory",)

    def __init__(self, config: Config, sequencer: SequencerConfig | None = None):
        if not isinstance(config, Config):
            raise TypeError(f"Sizes must be a Config, not {config!r}")
        self.config = config
        self.sequencer = sequencer or SequencerConfig(prefetch=PREFETCH)
        controller = Controller(config, self.sequencer)
        self.hbm_port = HBMPort(config)
        self.units: dict[str, Any] = {
            "controller": controller,
            "router": TileRouter(config),
            "npe": NPEUnit(config),
            "dma": DMA(config),
            "array": ArrayUnit(config),
            "kv": KVUnit(config),
            "scratchpad": Scratchpad(config.memory),
            "statistics": StatisticsMemory(config.memory),
        }
        host = {name: controller.signature.members[name] for name in (*HOST, "irq")}
        ports = {f"hbm_{port}": Out(HBM_PORT.signature()) for port in range(config.kv.hbm_ports)}
        super().__init__(host | {"ddr": Out(DDR_PORT.signature())} | ports)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        controller = self.units["controller"]
        for name, unit in self.units.items():
            m.submodules[name] = unit
        for name in HOST:
            connect(m, flipped(getattr(self, name)), getattr(controller, name))
        for name in UNITS:
            connect(m, getattr(controller, f"issue_{name}"), self.units[name].issue)
            connect(m, self.units[name].done, getattr(controller, f"done_{name}"))
        self._link(m)
        self._attention(m)
        counted = {"ddr": (self._ddr(m), DDR_PORT.data_bytes)}
        for port in range(self.config.kv.hbm_ports):
            counted[f"hbm{port}"] = (self._hbm(m, port), BEAT_BYTES)
        self._registers(m, controller)
        for name, (memory, size) in counted.items():
            self._count(m, controller, name, memory, size)
        return m

    def _link(self, m: Module) -> None:
        """Connect memories and row lists to their users, and tell these of errors."""
        errors: dict[str, list[Any]] = {name: [] for name in WATCHERS}
        for link, users in LINKS.items():
            owner, way = link.split(".")
            memory = self.units[owner]
            for index, (name, user) in enumerate(users.items()):
                unit, member = user.split(".")
                connect(m, getattr(self.units[unit], member), getattr(memory, f"{way}_{name}"))
                if way != "list" and unit in errors:
                    errors[unit].append(getattr(memory, f"{way}_errors")[index])
        # A beat of K or V that could not be read is missed by who asked for the sweep.
        errors["array"].append(self.units["kv"].read_error)
        for name, bits in errors.items():
            m.d.comb += self.units[name].memory_error.eq(Cat(bits).any())

    def _attention(self, m: Module) -> None:
        """Connect the KV unit, which brings entries, and the array, which asks for them."""
        kv, array = self.units["kv"], self.units["array"]
        for name in kv.signature.members:
            if name.startswith(("sweep", "batches", "lines_", "exponents_")):
                connect(m, getattr(kv, name), getattr(array, name))
        m.d.comb += [array.entries.eq(kv.entries), array.vector_lines.eq(kv.vector_lines)]

    def _ddr(self, m: Module) -> Any:
        """Place the port of DDR and who reads there; return the port.

        It outlives a reset of ``sync``, as DDR does: only ``memory`` resets it.
        """
        m.domains.ddr = domain = ClockDomain("ddr", local=True)
        m.d.comb += domain.clk.eq(ClockSignal("sync"))
        m.submodules.ddr_reset = FFSynchronizer(ResetSignal("memory"), domain.rst, o_domain="ddr")
        beats = self.config.memory.ddr_bytes // DDR_PORT.data_bytes
        ddr: Any = MemoryPort(DDR_PORT, beats=beats)
        m.submodules.ddr = DomainRenamer("ddr")(ddr)
        layout, _ = stream_layouts(DDR_PORT, paired=False)
        m.submodules.ddr_share = share = ReadShare(layout, ("instructions", "dma", "scales"))
        m.submodules.instructions = words = InstructionReader(2 * self.sequencer.prefetch)
        controller, dma, array = (self.units[name] for name in ("controller", "dma", "array"))
        connect(m, controller.requests, words.requests)
        connect(m, words.words, controller.words)
        m.d.comb += [
            words.forget.eq(controller.started),
            words.program.eq(controller.program),
            ddr.clear.eq(ResetSignal("sync")),
        ]
        self._share(
            m,
            share,
            ddr,
            {
                "instructions": (words.request, words.beats),
                "dma": (dma.read, dma.beats),
                "scales": (array.scale_request, array.scale_beats),
            },
        )
        for name in ("write", "data", "answer"):
            connect(m, getattr(dma, name), getattr(ddr, name))
        connect(m, ddr.axi, flipped(self.ddr))
        return ddr

    def _hbm(self, m: Module, number: int) -> Any:
        """Place a port of HBM and who reads there; return the port."""
        port: Any = Part("hwroute_hbm_port", self.hbm_port)
        layout, _ = stream_layouts(HBM_PORT, paired=self.hbm_port.paired)
        share: Any = ReadShare(layout, ("weights", "kv"))
        m.submodules[f"hbm_{number}"] = port
        m.submodules[f"hbm_{number}_share"] = share
        kv, array = self.units["kv"], self.units["array"]
        users = {
            "weights": (
                getattr(array, f"weight_request_{number}"),
                getattr(array, f"weight_beats_{number}"),
            ),
            "kv": (getattr(kv, f"read_{number}"), getattr(kv, f"beats_{number}")),
        }
        self._share(m, share, port, users)
        for name in ("write", "data", "answer"):
            connect(m, getattr(kv, f"{name}_{number}"), getattr(port, name))
        connect(m, port.axi, flipped(getattr(self, f"hbm_{number}")))
        return port

    def _share(self, m: Module, share: Any, port: Any, users: dict[str, tuple[Any, Any]]) -> None:
        """Connect a port, and those who share it, to what lets them take turns."""
        for name, (request, beats) in users.items():
            connect(m, request, getattr(share, f"request_{name}"))
            connect(m, getattr(share, f"beats_{name}"), beats)
        connect(m, share.request, port.read)
        connect(m, port.beats, share.beats)

    def _registers(self, m: Module, controller: Any) -> None:
        """Connect what the controller reads of the units, and the counters of events."""
        router, npe, kv = (self.units[name] for name in ("router", "npe", "kv"))
        m.d.comb += [
            self.irq.eq(controller.irq),
            router.rows.eq(controller.rows),
            controller.plane_any.eq(router.plane_any),
            controller.token_valid.eq(npe.token_valid),
            controller.token.eq(npe.token),
            controller.overflowed.eq(npe.saturated | self.units["array"].overflow),
            controller.kv_buffer_entries.eq(kv.events.kv_buffer_entries),
            controller.kv_hbm_entries.eq(kv.events.kv_hbm_entries),
            *(getattr(controller, name).eq(router.events[name]) for name in TOKEN_EVENTS.members),
        ]

    def _count(self, m: Module, controller: Any, name: str, memory: Any, size: int) -> None:
        """Count bytes of a memory that are asked for, in beats of `size` bytes."""
        for way, requests in (("read", memory.read), ("written", memory.write)):
            counter = getattr(controller, f"{name}_bytes_{way}")
            step = Signal.like(counter, name=f"{name}_{way}_step")
            with m.If(requests.valid & requests.ready):
                m.d.sync += step.eq(requests.payload.count * size)
            with m.Else():
                m.d.sync += step.eq(0)
            m.d.comb += counter.eq(step)
