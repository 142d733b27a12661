"""The units of the machine by name."""

from collections.abc import Callable

from amaranth.lib import wiring

from hwroute.config import Config
from hwroute.rtl.array import PEArray
from hwroute.rtl.axi import DDR_PORT
from hwroute.rtl.controller import Controller
from hwroute.rtl.decoder import Decoder
from hwroute.rtl.dma import DMA
from hwroute.rtl.fused_reduction import FusedReduction
from hwroute.rtl.hbm_port import HBMPort
from hwroute.rtl.kv_read_path import KVReadPath
from hwroute.rtl.kv_scheduler import KVScheduler
from hwroute.rtl.kv_unit import KVUnit
from hwroute.rtl.machine import Machine
from hwroute.rtl.matmul import MatmulControl
from hwroute.rtl.memory_port import MemoryPort
from hwroute.rtl.npe import NPE
from hwroute.rtl.npe_unit import NPEUnit
from hwroute.rtl.reduction import RowReduction
from hwroute.rtl.router import RouterUnit
from hwroute.rtl.scores import ScoresControl
from hwroute.rtl.scratchpad import Scratchpad
from hwroute.rtl.statistics_memory import StatisticsMemory
from hwroute.rtl.tile_router import TileRouter
from hwroute.rtl.values import ValuesControl

UNITS: dict[str, Callable[[Config], wiring.Component]] = {
    "machine": Machine,
    "controller": Controller,
    "decoder": lambda _config: Decoder(),
    "scratchpad": lambda config: Scratchpad(config.memory),
    "statistics": lambda config: StatisticsMemory(config.memory),
    "tile-router": TileRouter,
    "npe-unit": NPEUnit,
    "dma": DMA,
    "ddr-port": lambda config: MemoryPort(
        DDR_PORT, beats=config.memory.ddr_bytes // DDR_PORT.data_bytes
    ),
    "hbm-port": HBMPort,
    "array": PEArray,
    "matmul": MatmulControl,
    "scores": ScoresControl,
    "values": ValuesControl,
    "fused-reduction": lambda _config: FusedReduction(),
    "reduction": lambda _config: RowReduction(),
    "npe": lambda config: NPE(config.numerics.rounding),
    "router": lambda config: RouterUnit(config.kv),
    "kv": lambda config: KVScheduler(config.kv),
    "kv-buffer": lambda config: KVReadPath(config.kv),
    "kv-unit": KVUnit,
}
"""What `hwroute verilog` emits; `hwroute sim` replays on those that compute."""


def module_name(unit: str) -> str:
    """Return the name of a unit's top Verilog module."""
    return f"hwroute_{unit.replace('-', '_')}"
