"""A large memory as an instance of hand-written Verilog."""

from typing import Any

from amaranth.hdl import ClockSignal, Instance, Shape, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


class Ram(wiring.Component):
    """Rows of a given shape, one read and one write a cycle; a read takes a cycle.

    ``amaranth.lib.memory`` writes a line of Verilog for the initial value of every row: a directory
    of 131,072 rows took minutes to emit. These rows have no initial value, so whoever reads one
    must have written it.

    Parameters
    ----------
    shape
        Of a row.
    depth
        Rows.
    enables
        Equal parts of a row that are written or not, each by its bit of ``write_en``.

    Members
    -------
    write_en, write_addr, write_data : ``In``
    read_en, read_addr : ``In``
    read_data : ``Out``, the row read last; its content before a write in the same cycle
    """

    def __init__(self, shape: Any, depth: int, *, enables: int = 1):
        self.depth = depth
        self.enables = enables
        self.address_bits = max(1, (depth - 1).bit_length())
        super().__init__(
            {
                "write_en": In(enables),
                "write_addr": In(self.address_bits),
                "write_data": In(shape),
                "read_en": In(1),
                "read_addr": In(self.address_bits),
                "read_data": Out(shape),
            }
        )

    def elaborate(self, platform: Any) -> Instance:
        return Instance(
            "hwroute_ram",
            p_WIDTH=Shape.cast(Value.cast(self.read_data).shape()).width,
            p_DEPTH=self.depth,
            p_ADDRESS=self.address_bits,
            p_ENABLES=self.enables,
            i_clk=ClockSignal(),
            i_write_en=self.write_en,
            i_write_addr=self.write_addr,
            i_write_data=Value.cast(self.write_data),
            i_read_en=self.read_en,
            i_read_addr=self.read_addr,
            o_read_data=Value.cast(self.read_data),
        )
