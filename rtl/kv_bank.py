"""One bank of the history buffer: its places, and the order of its reads and writes."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from hwroute.config import KVConfig
from hwroute.rtl.kv_layouts import beat_layout, bits, place_beats, value_beat
from hwroute.rtl.ram import Ram
from hwroute.timing import KV_READ_AHEAD_ENTRIES

QUEUE_DEPTH = KV_READ_AHEAD_ENTRIES
"""Commands that wait at a bank or a port: how far one may run ahead of the others."""


class KVBank(wiring.Component):
    """Read entries out and write entries in, each in the order of its commands.

    A write waits for the reads of this bank in earlier rounds, since its place may be one that they
    gave back. A read waits for the writes of this bank in earlier passes. Nothing else is
    ordered. A read gives one beat a cycle, the first 1 cycle after its command is at hand.

    Parameters
    ----------
    config
        Places, beats, ports.

    Members
    -------
    begin_round, begin_pass : ``In(1)``, before or with the first command of a round; after the last
        of a pass
    read : ``In(1)``, queue a read; ``write``: queue a write
    place, value, port, beats : ``In``, place, whether V is meant, the HBM port that gives the data,
        and how many beats they are
    room : ``Out(1)``, both queues have room
    grant, grant_port : ``Out``, the port that may write now
    write_en, write_data : ``In``, its beat
    o : stream of beats read
    """

    def __init__(self, config: KVConfig):
        self.config = config
        super().__init__(
            {
                "begin_round": In(1),
                "begin_pass": In(1),
                "read": In(1),
                "write": In(1),
                "place": In(bits(config.bank_places)),
                "value": In(1),
                "port": In(bits(config.hbm_ports)),
                "beats": In(range(value_beat(config) + 1)),
                "room": Out(1),
                "grant": Out(1),
                "grant_port": Out(bits(config.hbm_ports)),
                "write_en": In(1),
                "write_data": In(beat_layout(config)),
                "o": Out(stream.Signature(beat_layout(config))),
            }
        )
        # Counts differ by at most the places and the commands that wait.
        count = (4 * (config.bank_places + QUEUE_DEPTH)).bit_length()
        self._command = data.StructLayout(
            {
                "place": bits(config.bank_places),
                "value": 1,
                "port": bits(config.hbm_ports),
                "beats": range(value_beat(config) + 1),
                "after": count,
            }
        )
        self._reads_done = Signal(count)
        self._writes_done = Signal(count)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        width = self._command.size
        m.submodules.reads = reads = SyncFIFOBuffered(width=width, depth=QUEUE_DEPTH)
        m.submodules.writes = writes = SyncFIFOBuffered(width=width, depth=QUEUE_DEPTH)
        rows = self.config.bank_places * place_beats(self.config)
        m.submodules.ram = ram = Ram(beat_layout(self.config), rows)
        m.d.comb += self.room.eq(reads.w_rdy & writes.w_rdy)
        self._push(m, reads, writes)
        read, write = (data.View(self._command, fifo.r_data) for fifo in (reads, writes))
        read_beat, write_beat = (
            Signal(range(value_beat(self.config)), name=name)
            for name in ("read_beat", "write_beat")
        )
        can_read = reads.r_rdy & ~(self._writes_done - read.after)[len(read.after) - 1]
        step = can_read & (~self.o.valid | self.o.ready)
        done = Signal()
        m.d.comb += [
            ram.read_en.eq(step),
            ram.read_addr.eq(self._row(read, read_beat)),
            reads.r_en.eq(step & (read_beat == read.beats - 1)),
            self.o.payload.eq(ram.read_data),
            self.grant.eq(writes.r_rdy & ~(self._reads_done - write.after)[len(write.after) - 1]),
            self.grant_port.eq(write.port),
            writes.r_en.eq(self.write_en & (write_beat == write.beats - 1)),
        ]
        with m.If(step):
            m.d.sync += read_beat.eq(Mux(reads.r_en, 0, read_beat + 1))
        with m.If(self.write_en):
            m.d.sync += write_beat.eq(Mux(writes.r_en, 0, write_beat + 1))
        with m.If(self.o.ready | ~self.o.valid):
            m.d.sync += self.o.valid.eq(can_read)
        m.d.sync += [
            # A register between crossbar and memory; `done` counts a write once it is there.
            ram.write_en.eq(self.write_en),
            ram.write_addr.eq(self._row(write, write_beat)),
            ram.write_data.eq(self.write_data),
            done.eq(writes.r_en),
            self._writes_done.eq(self._writes_done + done),
            self._reads_done.eq(self._reads_done + reads.r_en),
        ]
        return m

    def _row(self, command: Any, beat: Signal) -> Any:
        part = Mux(command.value, value_beat(self.config), 0)
        return command.place * place_beats(self.config) + part + beat

    def _push(self, m: Module, reads: Any, writes: Any) -> None:
        """Queue commands, each with the number of reads or writes that it comes after."""
        pushed_reads, round_reads = (Signal.like(self._reads_done, name=n) for n in ("pr", "rr"))
        pushed_writes, pass_writes = (Signal.like(self._reads_done, name=n) for n in ("pw", "ww"))
        earlier_reads = Mux(self.begin_round, pushed_reads, round_reads)
        command = Cat(self.place, self.value, self.port, self.beats)
        m.d.comb += [
            reads.w_en.eq(self.read),
            reads.w_data.eq(Cat(command, pass_writes)),
            writes.w_en.eq(self.write),
            writes.w_data.eq(Cat(command, earlier_reads)),
        ]
        m.d.sync += [
            pushed_reads.eq(pushed_reads + self.read),
            pushed_writes.eq(pushed_writes + self.write),
            round_reads.eq(earlier_reads),
        ]
        with m.If(self.begin_pass):
            m.d.sync += pass_writes.eq(pushed_writes)
