"""The HBM ports' side of the history buffer, and the crossbar to the banks' write ports."""

from typing import Any

from amaranth.hdl import Array, Assert, Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from hwroute.config import KVConfig
from hwroute.rtl.kv_bank import QUEUE_DEPTH, KVBank
from hwroute.rtl.kv_layouts import beat_layout, bits, value_beat


class KVPort(wiring.Component):
    """Pass an HBM port's entries on; hand those that are kept to a bank as they pass.

    Latency 1 cycle, one beat a cycle. A beat of a kept entry waits until its bank can take it.

    Parameters
    ----------
    config
        Banks and beats.

    Members
    -------
    push, beats, keep, bank : ``In``, queue an entry: its beats, and where it is kept
    room : ``Out(1)``
    granted : ``In``, one bit for each bank: it takes this port's data now
    writing : ``Out``, one bit for each bank: a beat passes that it keeps
    i, o : streams of beats
    """

    def __init__(self, config: KVConfig):
        self.config = config
        super().__init__(
            {
                "beats": In(range(value_beat(config) + 1)),
                "push": In(1),
                "keep": In(1),
                "bank": In(bits(config.buffer_banks)),
                "room": Out(1),
                "granted": In(config.buffer_banks),
                "writing": Out(config.buffer_banks),
                "i": In(stream.Signature(beat_layout(config))),
                "o": Out(stream.Signature(beat_layout(config))),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        width = 1 + len(self.bank) + len(self.beats)
        m.submodules.queue = queue = SyncFIFOBuffered(width=width, depth=QUEUE_DEPTH)
        keep, bank = queue.r_data[0], queue.r_data[1 : 1 + len(self.bank)]
        beats = queue.r_data[1 + len(self.bank) :]
        beat = Signal(range(value_beat(self.config)))
        step = Signal()
        free = ~keep | self.granted.bit_select(bank, 1)
        m.d.comb += [
            self.room.eq(queue.w_rdy),
            queue.w_en.eq(self.push),
            queue.w_data.eq(Cat(self.keep, self.bank, self.beats)),
            self.i.ready.eq(queue.r_rdy & free & (~self.o.valid | self.o.ready)),
            step.eq(self.i.valid & self.i.ready),
            self.writing.eq((step & keep) << bank),
            queue.r_en.eq(step & (beat == beats - 1)),
        ]
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(step):
            m.d.sync += [
                self.o.valid.eq(1),
                self.o.payload.eq(self.i.payload),
                beat.eq(Mux(queue.r_en, 0, beat + 1)),
            ]
        return m


def connect_crossbar(m: Module, ports: list[KVPort], banks: list[KVBank]) -> None:
    """Let every bank take the data of the port that its next write names."""
    beats = Array([port.i.payload for port in ports])
    for number, bank in enumerate(banks):
        # A granted port may still be busy with an entry before the one that this bank keeps.
        writing = Cat(port.writing[number] for port in ports)
        m.d.comb += [
            bank.write_data.eq(beats[bank.grant_port]),
            bank.write_en.eq(writing.any()),
        ]
        m.d.sync += Assert(writing == (bank.write_en << bank.grant_port))
    for number, port in enumerate(ports):
        m.d.comb += port.granted.eq(Cat(bank.grant & (bank.grant_port == number) for bank in banks))
