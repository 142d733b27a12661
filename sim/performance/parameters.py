"""Every free parameter of the performance model, each with its source."""

import math
from dataclasses import dataclass, field

from hwroute.sequencer_config import SequencerConfig
from hwroute.sim.device import Device
from hwroute.sim.performance.mechanisms import Mechanisms


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """What neither `hwroute.timing`, nor the configuration, nor the device's file says.

    None of them is fitted to a published result.

    Parameters
    ----------
    sequencer
        Sizes of its queues. Source: `hwroute.rtl.machine`, whose defaults these are.
    ddr_ports
        Ports of 512 bits to DDR that the machine has. Source: `hwroute.rtl.axi.DDR_PORT`, of which
        `hwroute.rtl.machine` has one; a U280 would have two.
    ddr_latency_ns
        From a read's address to its first data at an idle DDR. Source: assumption, what Shuhai
        (Wang et al., FCCM 2020) measured of a closed page of a U280's DDR4.
    ddr_share
        Of its ports' rate that DDR gives. Source: assumption, that the rate of the ports
        is what limits: the DIMMs behind two of them are a third faster (`sim/devices/u280.toml`).
    port_fifo_bytes
        Of K and V that a port holds ahead of the array, of at most
        `timing.KV_READ_AHEAD_ENTRIES` entries. Source: the FIFO of a port in the RTL, 128 beats of
        512 bits, which hide refreshes that are not aligned.
    run_sample
        Entries over which the burst level is averaged to time one of K or V. Source: a choice;
        twice as many move the mean by less than a part in a thousand.
    history_buffer, fused
        Whether the history buffer keeps anything; whether reductions run beside what needs or makes
        their operands (`hwroute.sim.performance.fusion`). Source: the machine's do; without, what
        each is worth can be seen. How K and V are mapped is `MemoryConfig.kv_mapping`.
    mechanisms
        What the machine lacks. Source: none, the RTL has no such thing.
    """

    sequencer: SequencerConfig = field(default_factory=lambda: SequencerConfig(prefetch=32))
    ddr_ports: int = 1
    ddr_latency_ns: float = 89.9
    ddr_share: float = 1.0
    port_fifo_bytes: int = 8 << 10
    run_sample: int = 64
    history_buffer: bool = True
    fused: bool = True
    mechanisms: Mechanisms = field(default_factory=Mechanisms)

    def ddr_latency_cycles(self, device: Device) -> int:
        """Return DDR's latency in cycles of the machine, rounded up."""
        return math.ceil(self.ddr_latency_ns * device.core_mhz / 1e3)
