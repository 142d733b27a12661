"""One bank of the scratchpad: its lines, and who reads and writes them in a cycle."""

from typing import Any

from amaranth.hdl import Module
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hwroute.isa.fields import LINE_ELEMENTS
from hwroute.rtl.ram import Ram
from hwroute.rtl.scratchpad_layouts import LINE
from hwroute.rtl.select import in_turn


class ScratchpadBank(wiring.Component):
    """Grant one read and one write a cycle, each to the ports in turn.

    A line is there 2 cycles after the grant. It has what was written by grants of earlier cycles.

    Parameters
    ----------
    rows
        Lines of the bank.
    readers, writers
        Ports of the scratchpad.

    Members
    -------
    reads, writes : ``In``, one bit for each port: it wants this bank
    read_rows : ``In``, the row that each reader wants
    write_requests : ``In``, row, data and mask of each writer
    read_grant, write_grant : ``Out``, at most one bit set, depending on the inputs of this cycle
    line : ``Out``, what was read
    """

    def __init__(self, rows: int, *, readers: int, writers: int):
        self.rows = rows
        row_bits = max(1, (rows - 1).bit_length())
        write = data.StructLayout({"row": row_bits, "data": LINE, "mask": LINE_ELEMENTS})
        super().__init__(
            {
                "reads": In(readers),
                "read_rows": In(data.ArrayLayout(row_bits, readers)),
                "read_grant": Out(readers),
                "writes": In(writers),
                "write_requests": In(data.ArrayLayout(write, writers)),
                "write_grant": Out(writers),
                "line": Out(LINE),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.lines = lines = Ram(LINE, self.rows, enables=LINE_ELEMENTS)
        reading = in_turn(m, self.reads, "read")
        writing = in_turn(m, self.writes, "write")
        m.d.comb += [
            self.read_grant.eq(reading),
            self.write_grant.eq(writing),
            self.line.eq(lines.read_data),
        ]
        m.d.sync += [lines.read_en.eq(reading.any()), lines.write_en.eq(0)]
        with m.Switch(reading):
            for index in range(len(reading)):
                with m.Case(1 << index):
                    m.d.sync += lines.read_addr.eq(self.read_rows[index])
        with m.Switch(writing):
            for index in range(len(writing)):
                with m.Case(1 << index):
                    m.d.sync += [
                        lines.write_en.eq(self.write_requests[index].mask),
                        lines.write_addr.eq(self.write_requests[index].row),
                        lines.write_data.eq(self.write_requests[index].data),
                    ]
        return m
