"""Start the PE array's beats: tiles, rows in flight, room for the results."""

from itertools import pairwise
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.data import StructLayout
from amaranth.lib.wiring import In, Out

from hwroute.config import Config
from hwroute.rtl.array_layouts import Mode, slot_bits, x_payload
from hwroute.rtl.column_ports import ColumnShape
from hwroute.timing import ARRAY_BEAT_DISTANCE


def beat_layout(config: Config) -> StructLayout:
    """Return what is known of a beat on its way: all of `x_payload` but the lanes, decoded.

    ``integer``: probabilities times values, added as integers; ``weights``, ``kernel``: which tile,
    and of V which part of it.
    """
    return StructLayout(
        {
            "valid": 1,
            "fp16": 1,
            "integer": 1,
            "scores": 1,
            "first": 1,
            "last": 1,
            "slot": slot_bits(config),
            "reference": 5,
            "weights": 5,
            "kernel": ColumnShape.of(config).kernel_bits,
        }
    )


class BeatIssue(wiring.Component):
    """Accept a beat when its tile is there, its row is free and its result has room.

    A beat that adds to a row waits until `hwroute.timing.ARRAY_BEAT_DISTANCE` cycles after the
    last one that wrote the row in FP32. Beats that start a row and beats of integers never do.
    Latency 0, one beat a cycle.

    Parameters
    ----------
    config
        Of the array.
    rows
        Results that may be on their way or waiting.

    Members
    -------
    x
        Beats of `x_payload`.
    weights_available, weights_read, weights_pop
        Queue of weight tiles.
    kernels_available, kernels_read, kernels_pop
        Queue of tiles of K and V.
    sent
        A result has left.
    beat
        The beat that starts in this cycle, if ``valid``.
    """

    def __init__(self, config: Config, *, rows: int):
        self.config = config
        self.rows = rows
        tiles = ColumnShape.of(config).tiles
        super().__init__(
            {
                "x": In(stream.Signature(x_payload(config))),
                "weights_available": In(1),
                "weights_read": In(5),
                "weights_pop": Out(1),
                "kernels_available": In(1),
                "kernels_read": In(range(tiles)),
                "kernels_pop": Out(1),
                "sent": In(1),
                "beat": Out(beat_layout(config)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        x, beat = self.x.payload, self.beat
        shape = ColumnShape.of(self.config)
        writing = StructLayout({"valid": 1, "slot": slot_bits(self.config)})
        past = [Signal(writing, name=f"past_{age}") for age in range(1, ARRAY_BEAT_DISTANCE)]
        m.d.sync += [
            past[0].valid.eq(beat.valid & ~beat.integer),
            past[0].slot.eq(x.slot),
            *(late.eq(early) for early, late in pairwise(past)),
        ]
        conflict = Cat(other.valid & (other.slot == x.slot) for other in past).any()
        owed = Signal(range(self.rows + 1))
        m.d.sync += owed.eq(owed + (beat.valid & x.last) - self.sent)
        available = Mux(beat.fp16, self.kernels_available, self.weights_available)
        waits = (conflict & ~x.first & ~beat.integer) | (x.last & (owed == self.rows))
        m.d.comb += [
            self.x.ready.eq(available & ~waits),
            beat.valid.eq(self.x.valid & self.x.ready),
            beat.fp16.eq(x.mode != Mode.INT4),
            beat.integer.eq((x.mode == Mode.VALUES) & Const(int(shape.aligned))),
            beat.scores.eq(x.mode == Mode.SCORES),
            *(getattr(beat, name).eq(x[name]) for name in ("first", "last", "slot", "reference")),
            beat.weights.eq(self.weights_read),
            beat.kernel.eq(shape.address(self.kernels_read, x.part)),
            self.weights_pop.eq(beat.valid & ~beat.fp16 & ~x.hold),
            self.kernels_pop.eq(beat.valid & beat.fp16 & ~x.hold),
        ]
        return m
