"""Devices as data: what a board's memories and logic are, each number with its source."""

import math
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path

from hwroute.errors import InputError, nearest
from hwroute.plain import from_plain

FORMAT = 1
HERE = Path(__file__).resolve().parent
DEVICES = HERE / "devices"
ATOM_BYTES = 32
"""What one column access of an HBM2 pseudo-channel moves: four beats of 64 bits."""
ATOM_CYCLES = 2
"""DRAM cycles in which the data of an atom move."""


@dataclass(frozen=True, kw_only=True)
class Logic:
    """What can be built with.

    Parameters
    ----------
    part
        The vendor's name of the device, with package and speed.
    lut, ff, dsp, bram36, uram
        Numbers of each.
    """

    part: str
    lut: int
    ff: int
    dsp: int
    bram36: int
    uram: int


@dataclass(frozen=True, kw_only=True)
class Address:
    """How an address within a channel is cut into fields.

    Parameters
    ----------
    order
        Fields from the most significant one down to the atom of 32 bytes.
    row, group_high, bank, column, group_low
        Bits of each: row, bank group (two parts), bank within its group, column of atoms.
    """

    order: tuple[str, ...]
    row: int
    group_high: int
    bank: int
    column: int
    group_low: int

    def __post_init__(self) -> None:
        known = [item.name for item in fields(self) if item.name != "order"]
        if sorted(self.order) != sorted(known):
            raise ValueError(f"order must name each of {', '.join(known)}, not {list(self.order)}")


@dataclass(frozen=True, kw_only=True)
class Idle:
    """Latency of a read with nothing else going on, in cycles of the port.

    Parameters
    ----------
    hit, closed, conflict
        The row is open, no row is open, another row is open.
    """

    hit: int
    closed: int
    conflict: int


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Distances between commands, in DRAM cycles but where a name ends in ``_ns``.

    Parameters
    ----------
    read_latency, write_latency
        From the column command to its data (CL, CWL).
    activate_to_read, activate_to_write, precharge, activate_to_precharge, activate_to_activate
        Of one bank (tRCD, tRP, tRAS, tRC).
    column_other_group, column_same_group
        Between column commands (tCCD).
    activate_other_bank, four_activates
        Between activates (tRRD), and in which at most four may be (tFAW).
    write_to_read_other_group, write_to_read_same_group
        From the end of the data written to the read command (tWTR).
    write_recovery, read_to_precharge
        Before a precharge (tWR from the data's end, tRTP).
    refresh_interval_ns, refresh_ns
        How often all banks are refreshed, and how long that takes (tREFI, tRFC).
    """

    read_latency: int
    write_latency: int
    activate_to_read: int
    activate_to_write: int
    precharge: int
    activate_to_precharge: int
    activate_to_activate: int
    column_other_group: int
    column_same_group: int
    activate_other_bank: int
    four_activates: int
    write_to_read_other_group: int
    write_to_read_same_group: int
    write_recovery: int
    read_to_precharge: int
    refresh_interval_ns: int
    refresh_ns: int


@dataclass(frozen=True, kw_only=True)
class Hbm:
    """High-bandwidth memory.

    Parameters
    ----------
    channels, channel_bytes
        Pseudo-channels, each with a port of its own.
    port_bits, port_mhz, burst_bytes
        AXI ports.
    dram_mhz
        Clock of the DRAM; data move on both edges.
    reorder
        Bursts among which a channel's controller takes the next.
    lateral_share
        Of a port's rate, at most, that goes to another channel through the switch.
    address, idle, timing
        Of every channel.
    """

    channels: int
    channel_bytes: int
    port_bits: int
    port_mhz: int
    burst_bytes: int
    dram_mhz: int
    reorder: int
    lateral_share: float
    address: Address
    idle: Idle
    timing: Timing

    def __post_init__(self) -> None:
        if self.dram_mhz % self.port_mhz:
            raise ValueError(
                f"hbm.dram_mhz must be a multiple of hbm.port_mhz ({self.port_mhz}), "
                f"not {self.dram_mhz}"
            )

    @property
    def port_ticks(self) -> int:
        """DRAM cycles in a cycle of a port."""
        return self.dram_mhz // self.port_mhz

    @property
    def path_ticks(self) -> int:
        """DRAM cycles that a request and its answer spend outside the DRAM."""
        inside = self.timing.read_latency + ATOM_CYCLES
        return self.idle.hit * self.port_ticks - inside

    @property
    def channel_gb_s(self) -> float:
        """Peak of a channel, GB/s: an atom in two DRAM cycles."""
        return ATOM_BYTES * self.dram_mhz / ATOM_CYCLES / 1e3

    @property
    def peak_gb_s(self) -> float:
        """Peak of all channels, GB/s."""
        return self.channels * self.channel_gb_s

    def cycles_of(self, nanoseconds: float) -> int:
        """Return DRAM cycles, rounded up."""
        return math.ceil(nanoseconds * self.dram_mhz / 1e3)


@dataclass(frozen=True, kw_only=True)
class Ddr:
    """DDR behind its ports, whose rate is what the core sees.

    Parameters
    ----------
    ports, port_bits, port_mhz
        AXI ports.
    """

    ports: int
    port_bits: int
    port_mhz: int

    @property
    def gb_s(self) -> float:
        """Rate of all ports, GB/s."""
        return self.ports * self.port_bits / 8 * self.port_mhz / 1e3


@dataclass(frozen=True, kw_only=True)
class Device:
    """A board.

    Parameters
    ----------
    format
        Version of the file's format.
    name, summary
        What it is called.
    core_mhz
        Clock of the overlay.
    logic, hbm, ddr
        What there is.
    """

    format: int
    name: str
    summary: str
    core_mhz: int
    logic: Logic
    hbm: Hbm
    ddr: Ddr


def device_names() -> list[str]:
    """Return the names of the devices that ship, sorted."""
    return sorted(path.stem for path in DEVICES.glob("*.toml"))


def device_path(name: str) -> Path:
    """Return the file of a device that ships, or a TOML file as it is.

    Raises
    ------
    InputError
        Neither; the message gives the nearest name.
    """
    known = device_names()
    path = DEVICES / f"{name}.toml" if name in known else Path(name)
    if not path.is_file():
        raise InputError(
            f"device must be a TOML file or one of {', '.join(known)}, not {name!r}"
            f"{nearest(name, known)}"
        )
    return path


def load_device(name: str) -> Device:
    """Return a device by name, or read a TOML file.

    Raises
    ------
    InputError
        Neither; the message gives the nearest name. Or the file is no device.
    """
    path = device_path(name)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
        device: Device = from_plain(Device, values)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, TypeError, ValueError) as error:
        raise InputError(f"device {path}: {error}") from error
    if device.format != FORMAT:
        raise InputError(f"device {path}: format must be {FORMAT}, not {device.format}")
    return device
