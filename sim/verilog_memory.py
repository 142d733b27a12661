"""A memory behind an AXI port inside Verilator; `hwroute.sim.axi_model` is that for Amaranth."""

from pathlib import Path
from typing import Any

import numpy as np
from amaranth.hdl import ClockSignal, Instance, ResetSignal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In
from numpy.typing import NDArray

from hwroute.rtl.axi import BURST_BYTES, AxiPort

SETTINGS = {
    "latency": 16,
    "stall": 8,
    "seed": 32,
    "bad_from": 64,
    "bad_to": 64,
    "bad_read": 2,
    "bad_write": 2,
}
"""Plain inputs of a memory and their widths; see ``sim/verilog/hwroute_axi_memory.v``."""


class VerilogMemory(wiring.Component):
    """An instance of ``hwroute_axi_memory``.

    Parameters
    ----------
    port
        Widths.
    beats
        Size.
    name
        Of its files in the folder of a run.

    Members
    -------
    axi
        The port, as the memory sees it.
    latency, stall, seed, bad_from, bad_to, bad_read, bad_write : ``In``
        Cycles from an address to the first data; chance in 256 that a channel stalls, and seed of
        the stalls; byte addresses that reads and writes are answered with these responses at,
        ``bad_to`` not included.
    """

    def __init__(self, port: AxiPort, *, beats: int, name: str = "memory"):
        self.port = port
        self.beats = beats
        self.name = name
        settings = {setting: In(bits) for setting, bits in SETTINGS.items()}
        super().__init__({"axi": In(port.signature()), **settings})

    def elaborate(self, platform: Any) -> Instance:
        ports: dict[str, Any] = {f"i_{name}": getattr(self, name) for name in SETTINGS}
        for channel, fields in (
            ("ar", ("address", "length")),
            ("r", ("data", "response", "last")),
            ("aw", ("address", "length")),
            ("w", ("data", "strobe", "last")),
            ("b", ("response",)),
        ):
            stream = getattr(self.axi, channel)
            given, taken = ("i", "o") if channel in ("ar", "aw", "w") else ("o", "i")
            ports[f"{given}_{channel}_valid"] = stream.valid
            ports[f"{taken}_{channel}_ready"] = stream.ready
            for field in fields:
                value = stream.payload if channel == "b" else stream.payload[field]
                ports[f"{given}_{channel}_{field}"] = Value.cast(value)
        return Instance(
            "hwroute_axi_memory",
            p_DATA_BITS=self.port.data_bits,
            p_LENGTH_BITS=self.port.length_bits,
            p_BEATS=self.beats,
            p_BURST=BURST_BYTES,
            p_NAME=self.name,
            i_clk=ClockSignal(),
            i_rst=ResetSignal(),
            **ports,
        )

    def fill(self, folder: Path, content: NDArray[np.uint8]) -> None:
        """Write the bytes that the memory starts a run in `folder` with; zeros follow them."""
        folder.mkdir(parents=True, exist_ok=True)
        content.tofile(folder / f"{self.name}.bin")

    def dump(self, folder: Path) -> NDArray[np.uint8]:
        """Return the bytes that the memory held at the end of a run that wrote to it."""
        lines = (folder / f"{self.name}.hex").read_text(encoding="ascii").split()
        digits = [line for line in lines if not line.startswith(("@", "//"))]
        rows = np.frombuffer(bytes.fromhex("".join(digits)), np.uint8)
        return rows.reshape(self.beats, -1)[:, ::-1].reshape(-1)
